"""The workload of a first run: four kinds of application as agents really have them, small enough for a CPU.

    question    1–3 calls, one after the other: a question, then one or two that follow it up
    tool_agent  6–10 calls on a growing prompt, with a tool's short wait before each but the first
    map_reduce  8–12 summaries side by side, then one over all of them
    report      an outline, 16 long sections side by side, a merge: rare, and a large part of the whole load

Lengths and shapes are drawn; texts are only made when the engine's tokenizer is known (`prompts`). The same seed
gives the same applications, whatever the machine. The kinds come in fixed shares, so that a small sample has its
elephants too.
"""

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType

from gateway.workloads.traces import RecordedApplication, RecordedCall

SHARES: Mapping[str, float] = MappingProxyType(
    {"question": 0.50, "tool_agent": 0.25, "map_reduce": 0.20, "report": 0.05}
)

_TOPICS = (
    "the late delivery of an order of office chairs",
    "a refund for a cancelled train journey",
    "the minutes of a town council's meeting",
    "a leaking heat pump under guarantee",
    "three offers for the repair of a roof",
    "the water levels of a river over ten years",
    "an invoice that was paid twice",
    "the opening hours of the regional museums",
)


def sample_applications(count: int, seed: int) -> list[RecordedApplication]:
    """`count` applications in random order: each kind's share of them, rounded, the questions taking up the rest."""
    draw = random.Random(seed)
    kinds = [kind for kind, share in SHARES.items() if kind != "question" for _ in range(round(share * count))]
    kinds += ["question"] * (count - len(kinds))
    draw.shuffle(kinds)
    return [_application(f"{kind}-{number:03d}", kind, draw) for number, kind in enumerate(kinds)]


def _application(app_id: str, kind: str, draw: random.Random) -> RecordedApplication:
    makers: dict[str, Callable[[random.Random], list[RecordedCall]]] = {
        "question": _question,
        "tool_agent": _tool_agent,
        "map_reduce": _map_reduce,
        "report": _report,
    }
    return RecordedApplication(app_id, kind, tuple(makers[kind](draw)), f"A {kind} about {draw.choice(_TOPICS)}.")


def _question(draw: random.Random) -> list[RecordedCall]:
    return _conversation(draw, turns=draw.randint(1, 3), first=(120, 240), each=(20, 60), output=(24, 64), wait_s=0.3)


def _tool_agent(draw: random.Random) -> list[RecordedCall]:
    return _conversation(draw, turns=draw.randint(6, 10), first=(220, 340), each=(40, 90), output=(16, 40), wait_s=0.2)


def _map_reduce(draw: random.Random) -> list[RecordedCall]:
    return _fan(draw, start=0, width=draw.randint(8, 12), prompt=(220, 320), output=(40, 70), last_output=(60, 100))


def _report(draw: random.Random) -> list[RecordedCall]:
    outline = RecordedCall(0, (), None, 0.0, draw.randint(250, 350), draw.randint(80, 120))
    sections = _fan(draw, start=1, width=16, prompt=(320, 420), output=(160, 240), last_output=(200, 260), after=(0,))
    return [outline, *sections]


def _conversation(
    draw: random.Random,
    turns: int,
    first: tuple[int, int],
    each: tuple[int, int],
    output: tuple[int, int],
    wait_s: float,
) -> list[RecordedCall]:
    """Each call extends the one before: its prompt grows by that call's completion and by `each` new tokens."""
    calls = [RecordedCall(0, (), None, 0.0, draw.randint(*first), draw.randint(*output))]
    for number in range(1, turns):
        before = calls[-1]
        prompt_tokens = before.prompt_tokens + before.completion_tokens + draw.randint(*each)
        delay_s = round(draw.uniform(0.5, 1.5) * wait_s, 3)
        calls.append(RecordedCall(number, (number - 1,), number - 1, delay_s, prompt_tokens, draw.randint(*output)))
    return calls


def _fan(
    draw: random.Random,
    start: int,
    width: int,
    prompt: tuple[int, int],
    output: tuple[int, int],
    last_output: tuple[int, int],
    after: tuple[int, ...] = (),
) -> list[RecordedCall]:
    """`width` calls side by side, then one whose prompt holds what they wrote."""
    parts = [
        RecordedCall(start + number, after, None, 0.0, draw.randint(*prompt), draw.randint(*output))
        for number in range(width)
    ]
    # A merge reads the first tokens of each part only, as long parts would not fit a small model's context.
    merged_tokens = 100 + sum(min(part.completion_tokens, 80) for part in parts)
    last = RecordedCall(
        start + width, tuple(part.call_id for part in parts), None, 0.0, merged_tokens, draw.randint(*last_output)
    )
    return [*parts, last]
