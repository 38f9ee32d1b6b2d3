"""Prompts from recordings, with a tokenizer whose counts a reader can check: words, and two tokens a message."""

from collections.abc import Sequence

import pytest

from gateway.demo.prompts import PromptTooLong, prepared
from gateway.fairness.cost import call_cost
from gateway.workloads.traces import Message, RecordedApplication, RecordedCall
from gateway.workloads.workload import Workload


class Words:
    """One token a word, `per_message` for the template; the opening of the answer is one."""

    def __init__(self, per_message: int = 2) -> None:
        self._per_message = per_message

    async def count(self, messages: Sequence[Message]) -> int:
        return 1 + sum(len(message["content"].split()) + self._per_message for message in messages)


def spoken(call_id: int, said: str, answered: str, extends: int | None = None, output: int = 5) -> RecordedCall:
    after = () if extends is None else (extends,)
    append = ({"role": "user", "content": said},) if said else ()
    return RecordedCall(call_id, after, extends, 1.0, 999, output, append, answered)


def silent(call_id: int, prompt: int, output: int, extends: int | None = None) -> RecordedCall:
    return RecordedCall(call_id, () if extends is None else (extends,), extends, 0.0, prompt, output)


def workload(*calls: RecordedCall, app_id: str = "a-1") -> Workload:
    return Workload((RecordedApplication(app_id, "kind", calls, "What is it?"),), (3.0,))


async def test_a_prompt_is_the_chain_with_the_recorded_answers_between() -> None:
    calls = (spoken(0, "one two", "yes"), spoken(1, "three", "no", extends=0), spoken(2, "", "so", extends=1))

    (application,) = await prepared(workload(*calls), Words(), 1000, 1.0, lambda: None)

    first, second, third = application.calls
    assert first.messages == ({"role": "user", "content": "one two"},)
    assert second.messages == (
        {"role": "user", "content": "one two"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "three"},
    )
    assert third.messages == (*second.messages, {"role": "assistant", "content": "no"})
    assert [call.prompt_tokens for call in application.calls] == [5, 11, 14]
    assert not any(call.is_clipped for call in application.calls)


async def test_the_cost_is_in_the_tokens_of_the_model_at_hand() -> None:
    (application,) = await prepared(
        workload(spoken(0, "one two", "yes"), spoken(1, "three", "no")), Words(), 1000, 1.0, lambda: None
    )

    assert application.cost == call_cost(5, 5) + call_cost(4, 5)  # type: ignore[arg-type]


async def test_arrival_stays_and_delays_are_scaled() -> None:
    (application,) = await prepared(workload(spoken(0, "one", "two")), Words(), 1000, 0.25, lambda: None)

    assert application.arrival_s == 3.0
    assert application.calls[0].delay_s == 0.25


@pytest.mark.parametrize("prompt", [60, 300, 2000])
async def test_made_prompts_have_the_recorded_length_and_share_what_they_extend(prompt: int) -> None:
    calls = (silent(0, prompt, 40), silent(1, prompt + 100, 20, extends=0), silent(2, prompt, 20))

    (application,) = await prepared(workload(*calls), Words(), 10_000, 1.0, lambda: None)

    for recorded, made in zip(calls, application.calls, strict=True):
        assert made.prompt_tokens == pytest.approx(recorded.prompt_tokens, rel=0.05, abs=12)
    first, second, third = application.calls
    assert second.messages[: len(first.messages)] == first.messages
    assert second.messages[len(first.messages)]["role"] == "assistant"
    # Recorded as a fresh prompt: nothing of its beginning is another's.
    assert first.messages[0]["content"].split()[:3] != third.messages[0]["content"].split()[:3]


async def test_made_prompts_are_the_same_every_time() -> None:
    once, again = [await prepared(workload(silent(0, 80, 9)), Words(), 1000, 1.0, lambda: None) for _ in range(2)]

    assert once == again


async def test_a_prompt_without_room_loses_its_end_and_keeps_its_prefix() -> None:
    long = " ".join(f"w{number:03d}" for number in range(300))
    calls = (spoken(0, long, "yes", output=20), spoken(1, long, "no", extends=0, output=30))

    (application,) = await prepared(workload(*calls), Words(), 400, 1.0, lambda: None)

    first, second = application.calls
    assert not first.is_clipped
    assert second.is_clipped
    assert second.prompt_tokens + second.output_tokens <= 400
    assert second.prompt_tokens > 300  # no more was cut off than needed, give or take
    assert second.messages[:2] == (*first.messages, {"role": "assistant", "content": "yes"})
    assert long.startswith(second.messages[2]["content"])


async def test_half_the_context_is_left_for_the_prompt() -> None:
    (application,) = await prepared(workload(spoken(0, "one two", "yes", output=900)), Words(), 400, 1.0, lambda: None)

    assert application.calls[0].output_tokens == 200
    assert application.calls[0].is_clipped
    assert application.calls[0].messages == ({"role": "user", "content": "one two"},)


async def test_a_template_longer_than_the_context_is_an_error_and_no_endless_loop() -> None:
    with pytest.raises(PromptTooLong):
        await prepared(workload(spoken(0, "one", "yes")), Words(per_message=50), 20, 1.0, lambda: None)


async def test_progress_is_told_of_every_call() -> None:
    told = []

    await prepared(workload(silent(0, 50, 9), silent(1, 50, 9)), Words(), 1000, 1.0, lambda: told.append(1))

    assert len(told) == 2
