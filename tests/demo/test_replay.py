"""Calls start when they may and not before, in virtual time; and what becomes of an application when one fails."""

import asyncio
from collections.abc import Sequence

from gateway.demo.prompts import PreparedApplication, PreparedCall
from gateway.demo.replay import ApplicationRecord, CallEnd, CallFailed, replayed
from gateway.fairness.units import Tokens
from tests.fakes.virtual_time import run_in_virtual_time


def call(call_id: int, *after: int, delay_s: float = 0.0, output: int = 4) -> PreparedCall:
    return PreparedCall(call_id, after, delay_s, ({"role": "user", "content": "x"},), Tokens(3), Tokens(output), False)


def application(app_id: str, arrival_s: float, *calls: PreparedCall) -> PreparedApplication:
    return PreparedApplication(app_id, "kind", arrival_s, calls)


class Scripted:
    """Calls take as many seconds as they have output tokens; those named in `failing` fail half-way."""

    def __init__(
        self, failing: Sequence[tuple[str, int]] = (), shorts: Sequence[int] = (), failing_begin: bool = False
    ):
        self.log: list[tuple[float, str, object]] = []
        self._failing = failing
        self._shorts = shorts
        self._failing_begin = failing_begin

    def _note(self, what: str, which: object) -> None:
        self.log.append((asyncio.get_running_loop().time(), what, which))

    async def begin(self, application: PreparedApplication) -> None:
        self._note("begin", application.app_id)
        if self._failing_begin:
            raise CallFailed("declaring: 500")

    async def call(self, application: PreparedApplication, call: PreparedCall) -> CallEnd:
        self._note("call", (application.app_id, call.call_id))
        if (application.app_id, call.call_id) in self._failing:
            await asyncio.sleep(call.output_tokens / 2)
            raise CallFailed(f"call {call.call_id}: 502")
        await asyncio.sleep(call.output_tokens)
        return CallEnd(3, call.output_tokens - (call.call_id in self._shorts))

    async def end(self, application: PreparedApplication) -> None:
        self._note("end", application.app_id)


def played(caller: Scripted, *applications: PreparedApplication) -> tuple[ApplicationRecord, ...]:
    return run_in_virtual_time(replayed(applications, caller, lambda: None))


def test_the_log_of_a_fan_with_a_delay() -> None:
    caller = Scripted()

    (record,) = played(
        caller,
        application("a", 2.0, call(0), call(1, 0, output=5), call(2, 0, output=2), call(3, 1, 2, delay_s=1.5)),
    )

    assert caller.log == [
        (2.0, "begin", "a"),
        (2.0, "call", ("a", 0)),
        (6.0, "call", ("a", 1)),
        (6.0, "call", ("a", 2)),
        (12.5, "call", ("a", 3)),
        (16.5, "end", "a"),
    ]
    assert record.jct_s == 14.5
    assert [(one.call_id, one.started_s, one.ended_s) for one in record.calls] == [
        (0, 2.0, 6.0),
        (1, 6.0, 11.0),
        (2, 6.0, 8.0),
        (3, 12.5, 16.5),
    ]
    assert record.failures == ()


def test_a_delay_before_the_first_call_counts_into_the_completion_time() -> None:
    (record,) = played(Scripted(), application("a", 1.0, call(0, delay_s=3.0)))

    assert record.jct_s == 7.0


def test_applications_do_not_wait_for_one_another() -> None:
    caller = Scripted()

    early, late = played(caller, application("a", 0.0, call(0, output=10)), application("b", 1.0, call(0)))

    assert (early.jct_s, late.jct_s) == (10.0, 4.0)
    assert [entry[1:] for entry in caller.log] == [
        ("begin", "a"),
        ("call", ("a", 0)),
        ("begin", "b"),
        ("call", ("b", 0)),
        ("end", "b"),
        ("end", "a"),
    ]


def test_a_failed_call_ends_its_application_and_no_other() -> None:
    caller = Scripted(failing=[("a", 1)])

    failed, good = played(
        caller,
        application("a", 0.0, call(0), call(1, 0), call(2, 1), call(3)),
        application("b", 0.0, call(0, output=20)),
    )

    assert failed.jct_s is None
    assert failed.failures == ("call 1: 502",)
    assert (len(failed.calls), failed.num_calls) == (2, 4)
    assert ("call", ("a", 2)) not in [entry[1:] for entry in caller.log]
    assert (6.0, "end", "a") in caller.log  # closed all the same
    assert (good.jct_s, good.failures) == (20.0, ())


def test_a_declaration_that_fails_is_a_failure() -> None:
    caller = Scripted(failing_begin=True)

    (record,) = played(caller, application("a", 0.0, call(0)))

    assert record.failures == ("declaring: 500",)
    assert record.calls == ()
    assert [entry[1] for entry in caller.log] == ["begin", "end"]


def test_an_answer_of_another_length_is_a_failure() -> None:
    (record,) = played(Scripted(shorts=[0]), application("a", 0.0, call(0)))

    assert record.failures == ("call 0: 3 tokens instead of 4",)
    assert record.jct_s is None


def test_progress_counts_answered_calls_only() -> None:
    told = []
    caller = Scripted(failing=[("a", 1)])

    run_in_virtual_time(replayed([application("a", 0.0, call(0), call(1, 0))], caller, lambda: told.append(1)))

    assert len(told) == 1
