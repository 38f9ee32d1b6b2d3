"""The workloads that are studied: recipes, which are values, and what a seed draws from them.

Recordings are those in ../shared/traces (the environment variable TRACES says otherwise). Without them every recipe
that needs one is made from our own sample (`gateway.workloads.sample`) instead; `as_possible` says so.
"""

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from gateway.workloads.sample import sample_applications
from gateway.workloads.traces import RecordedApplication, RecordedCall, read_applications, read_arrivals
from gateway.workloads.workload import Workload, poisson_arrivals, scaled_arrivals

TRACES = Path(os.environ.get("TRACES", Path(__file__).parent.parent.parent / "shared" / "traces"))

SMALL = ("fact_verify", "equation_verify", "code_check", "kbqa_verify")
MEDIUM = ("code_feedback", "tool_plan", "alfworld")
LARGE = ("mapreduce_summarize",)

Mix = Literal[
    "suite",
    "suite with doc_merge",
    "tau_airline",
    "hotpot_react",
    "everything recorded",
    "task parallel",
    "sample",
    "elephant among mice",
]
Arrivals = Literal["recorded", "poisson", "bursts"]
Applications = list[RecordedApplication]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to draw; with a seed it gives one workload."""

    mix: Mix
    """suite: the recorded kinds in the paper's shares, 72 % small, 26 % medium, 2 % large, kinds of a class alike.
    everything recorded: half suite, a quarter each of the recorded agents.
    task parallel: made up, in the same shares (see `_task_parallel`).
    elephant among mice: made up, `count` mice, with arrivals of its own (see `_elephant_among_mice`)."""
    count: int = 300
    window_s: float = 120.0
    """All arrive within it at density 1."""
    density: float = 1.0
    arrivals: Arrivals = "recorded"
    """recorded: consecutive ones of the Mooncake conversations, from a drawn place on, scaled to the window.
    bursts: ten at the same moments, those evenly apart."""
    tool_wait_s: float = 0.0
    """Mean of an exponential wait that is added before every call but an application's first ones."""
    at_once: bool = False
    """All calls of an application come when it does: no stages, no tools."""
    pieces: int = 1
    """The largest application is handed in as this many, its calls dealt out to them, no call waiting for another."""
    job_at_once: bool = False
    """The largest application's calls wait for none of each other, whole as well as in pieces."""
    crowd: float = 0.0
    """This share of the applications is one tenant's, `crowd`; four others have as many each of the rest."""


@cache
def have_recordings() -> bool:
    return (TRACES / "apps_suite9.jsonl.gz").exists()


def as_possible(recipe: Recipe) -> Recipe:
    """The recipe itself, or what stands for it where there are no recordings."""
    if have_recordings():
        return recipe
    is_recorded = recipe.mix not in ("sample", "task parallel", "elephant among mice")
    return replace(
        recipe,
        mix="sample" if is_recorded else recipe.mix,
        arrivals="poisson" if recipe.arrivals == "recorded" else recipe.arrivals,
    )


def drawn(recipe: Recipe, seed: int) -> tuple[Workload, Sequence[RecordedApplication]]:
    """One workload, and the recording that it was drawn from."""
    if recipe.mix == "elephant among mice":
        workload = _elephant_among_mice(recipe.count)
        return workload, workload.applications
    draw = random.Random(seed)
    applications, recorded = _MIXES[recipe.mix](recipe.count, draw, seed)
    if recipe.tool_wait_s:
        applications = [_with_tools(one, recipe.tool_wait_s, draw) for one in applications]
    if recipe.at_once:
        applications = [_at_once(one) for one in applications]
    arrivals_s = _arrivals(recipe, draw, seed)
    if recipe.crowd:
        applications = _with_tenants(applications, recipe.crowd, draw)
    if recipe.pieces > 1 or recipe.job_at_once:
        applications, arrivals_s = _in_pieces(applications, arrivals_s, recipe.pieces)
    return Workload(tuple(applications), arrivals_s), recorded


def _elephant_among_mice(num_mice: int) -> Workload:
    """The elephant comes first, all its calls at once, and costs 20 mice; then mice, one after another, seven of which
    fill 459 blocks of 16, and a little more of them than those can serve: there is always one with less left than the
    elephant. (With smaller mice more run side by side, GPS shares among more, and is late with the elephant itself.)"""
    elephant = RecordedApplication("elephant", "elephant", tuple(_call(n, 512, 144) for n in range(8)), "")
    mouse = RecordedApplication("mouse", "mouse", (_call(0, 1024, 32),), "")
    return Workload((elephant, *[mouse] * num_mice), (0.0, *(0.16 * (1 + n) for n in range(num_mice))))


# --- mixes ----------------------------------------------------------------------------------------------------------


def _suite(*large: str) -> Callable[[int, random.Random, int], tuple[Applications, Applications]]:
    shares = ((SMALL, 0.72), (MEDIUM, 0.26), (large, 0.02))

    def mix(count: int, draw: random.Random, seed: int) -> tuple[Applications, Applications]:
        recorded = read_applications(TRACES / "apps_suite9.jsonl.gz")
        by_kind: dict[str, Applications] = {}
        for application in recorded:
            by_kind.setdefault(application.kind, []).append(application)
        classes = [kinds for kinds, share in shares for _ in range(round(share * count))]
        draw.shuffle(classes)
        return [draw.choice(by_kind[draw.choice(kinds)]) for kinds in classes], recorded

    return mix


def _file(name: str) -> Callable[[int, random.Random, int], tuple[Applications, Applications]]:
    def mix(count: int, draw: random.Random, seed: int) -> tuple[Applications, Applications]:
        recorded = read_applications(TRACES / name)
        return [draw.choice(recorded) for _ in range(count)], recorded

    return mix


def _everything(count: int, draw: random.Random, seed: int) -> tuple[Applications, Applications]:
    applications, recorded = _suite(*LARGE)(count - 2 * (count // 4), draw, seed)
    for name in ("apps_tau_airline.jsonl.gz", "apps_hotpot_react.jsonl.gz"):
        agents = read_applications(TRACES / name)
        applications += [draw.choice(agents) for _ in range(count // 4)]
        recorded = [*recorded, *agents]
    draw.shuffle(applications)
    return applications, recorded


def _sample(count: int, draw: random.Random, seed: int) -> tuple[Applications, Applications]:
    return sample_applications(count, seed), sample_applications(700, seed + 1)


def _task_parallel(count: int, draw: random.Random, seed: int) -> tuple[Applications, Applications]:
    """72 % self-consistency (5 answers to one question), 26 % map-reduce (10 to 20 parts and a merge), 2 % merging of
    documents (20 drafts, 20 judgements of them, a merge)."""

    def stage(
        first: int, num_calls: int, prompt: tuple[int, int], output: tuple[int, int], after: range
    ) -> list[RecordedCall]:
        calls = (_call(first + n, draw.randint(*prompt), draw.randint(*output), tuple(after)) for n in range(num_calls))
        return list(calls)

    def one(kind: str) -> list[RecordedCall]:
        if kind == "self_consistency":
            return stage(0, 5, (150, 600), (40, 200), range(0))
        if kind == "map_reduce":
            width = draw.randint(10, 20)
            return stage(0, width, (400, 900), (50, 150), range(0)) + stage(
                width, 1, (600, 1500), (100, 300), range(width)
            )
        drafts = stage(0, 20, (600, 1200), (200, 400), range(0))
        judged = stage(20, 20, (800, 1600), (50, 100), range(20))
        return drafts + judged + stage(40, 1, (1500, 2500), (300, 500), range(20, 40))

    def many(count: int) -> Applications:
        shares = {"map_reduce": 0.26, "document_merging": 0.02}
        kinds = [kind for kind, share in shares.items() for _ in range(round(share * count))]
        kinds += ["self_consistency"] * (count - len(kinds))
        draw.shuffle(kinds)
        return [RecordedApplication(f"{kind}-{n}", kind, tuple(one(kind)), "") for n, kind in enumerate(kinds)]

    return many(count), many(700)


_MIXES: dict[Mix, Callable[[int, random.Random, int], tuple[Applications, Applications]]] = {
    "suite": _suite(*LARGE),
    "suite with doc_merge": _suite(*LARGE, "doc_merge"),
    "tau_airline": _file("apps_tau_airline.jsonl.gz"),
    "hotpot_react": _file("apps_hotpot_react.jsonl.gz"),
    "everything recorded": _everything,
    "task parallel": _task_parallel,
    "sample": _sample,
}

# --- what is done to them -------------------------------------------------------------------------------------------


def _call(call_id: int, prompt_tokens: int, completion_tokens: int, after: tuple[int, ...] = ()) -> RecordedCall:
    return RecordedCall(call_id, after, None, 0.0, prompt_tokens, completion_tokens)


def _with_tools(application: RecordedApplication, mean_s: float, draw: random.Random) -> RecordedApplication:
    calls = tuple(
        replace(call, delay_s=call.delay_s + draw.expovariate(1 / mean_s)) if call.after else call
        for call in application.calls
    )
    return replace(application, calls=calls)


def _at_once(application: RecordedApplication) -> RecordedApplication:
    calls = tuple(
        replace(call, after=(), extends=None, delay_s=0.0, append=None, completion=None) for call in application.calls
    )
    return replace(application, calls=calls)


def _in_pieces(
    applications: Applications, arrivals_s: tuple[float, ...], pieces: int
) -> tuple[Applications, tuple[float, ...]]:
    """The pieces are of kind `piece` and stand where the whole stood."""
    largest = max(range(len(applications)), key=lambda n: sum(c.completion_tokens for c in applications[n].calls))
    calls = _at_once(applications[largest]).calls
    parts = [RecordedApplication(f"piece-{n}", "piece", calls[n::pieces], "", "cutter") for n in range(pieces)]
    parts = [part for part in parts if part.calls]
    return (
        [*applications[:largest], *parts, *applications[largest + 1 :]],
        (*arrivals_s[:largest], *[arrivals_s[largest]] * len(parts), *arrivals_s[largest + 1 :]),
    )


def _with_tenants(applications: Applications, crowd: float, draw: random.Random) -> Applications:
    number_of_crowd = round(crowd * len(applications))
    others = [f"tenant-{n % 4}" for n in range(len(applications) - number_of_crowd)]
    tenants = ["crowd"] * number_of_crowd + others
    draw.shuffle(tenants)
    return [replace(one, tenant=tenant) for one, tenant in zip(applications, tenants, strict=True)]


def _arrivals(recipe: Recipe, draw: random.Random, seed: int) -> tuple[float, ...]:
    count, window_s = recipe.count, recipe.window_s / recipe.density
    match recipe.arrivals:
        case "poisson":
            return poisson_arrivals(count, window_s, seed)
        case "bursts":
            num_bursts = -(-count // 10)
            return tuple(window_s * (number // 10) / num_bursts for number in range(count))
        case "recorded":
            times_s = read_arrivals(TRACES / "arrivals_mooncake_conversation.csv.gz")
            first = draw.randrange(len(times_s) - count)
            return scaled_arrivals(times_s[first : first + count], count, window_s)
