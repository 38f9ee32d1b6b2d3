"""Applications replayed on time: each call starts when those it waits for have ended and its delay is over.

Nothing here knows HTTP: a `Caller` makes the calls. Time is the running event loop's, so tests can bend it.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.demo.prompts import PreparedApplication, PreparedCall


class CallFailed(Exception):
    """A call, a declaration or a closing did not come to a good end; the message is the reason."""


@dataclass(frozen=True, slots=True)
class CallEnd:
    """What an answered call reported: tokens as the engine counted them."""

    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One answered call; seconds from the start of the run."""

    call_id: int
    started_s: float
    ended_s: float
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class ApplicationRecord:
    """What became of one application."""

    app_id: str
    kind: str
    arrival_s: float
    jct_s: float | None
    """From its arrival to its last call's end; None if it did not get there."""
    cost: float
    """Of its calls as prepared, token·iterations."""
    calls: tuple[CallRecord, ...]
    num_calls: int
    """How many it should have made."""
    failures: tuple[str, ...]


class Caller(Protocol):
    """Whoever makes the calls. All raise CallFailed."""

    async def begin(self, application: PreparedApplication) -> None:
        """It has arrived; no call was made yet."""
        ...

    async def call(self, application: PreparedApplication, call: PreparedCall) -> CallEnd: ...

    async def end(self, application: PreparedApplication) -> None:
        """All its calls have ended."""
        ...


async def replayed(
    applications: Sequence[PreparedApplication], caller: Caller, progress: Callable[[], None]
) -> tuple[ApplicationRecord, ...]:
    """All of them, each at its arrival. `progress` is told of every call that ended well."""
    epoch_s = asyncio.get_running_loop().time()
    runs = [_ApplicationRun(application, caller, epoch_s, progress) for application in applications]
    async with asyncio.TaskGroup() as tasks:
        for run in runs:
            tasks.create_task(run.play())
    return tuple(run.record() for run in runs)


class _ApplicationRun:
    """One application on its way. The first failure ends it: its later calls would ask for what never came."""

    def __init__(
        self, application: PreparedApplication, caller: Caller, epoch_s: float, progress: Callable[[], None]
    ) -> None:
        self._application = application
        self._caller = caller
        self._epoch_s = epoch_s
        self._progress = progress
        self._ended = {call.call_id: asyncio.Event() for call in application.calls}
        self._calls: list[CallRecord] = []
        self._failures: list[str] = []

    async def play(self) -> None:
        await asyncio.sleep(self._application.arrival_s - self._now_s())
        try:
            await self._caller.begin(self._application)
            async with asyncio.TaskGroup() as tasks:
                for call in self._application.calls:
                    tasks.create_task(self._play_call(call))
        except* CallFailed as failed:
            self._failures.extend(str(failure) for failure in _leaves(failed))
        try:
            await self._caller.end(self._application)
        except CallFailed as failure:
            self._failures.append(str(failure))

    async def _play_call(self, call: PreparedCall) -> None:
        for other in call.after:
            await self._ended[other].wait()
        await asyncio.sleep(call.delay_s)
        started_s = self._now_s()
        end = await self._caller.call(self._application, call)
        if end.output_tokens != call.output_tokens:
            raise CallFailed(f"call {call.call_id}: {end.output_tokens} tokens instead of {call.output_tokens}")
        self._calls.append(CallRecord(call.call_id, started_s, self._now_s(), end.prompt_tokens, end.output_tokens))
        self._ended[call.call_id].set()
        self._progress()

    def record(self) -> ApplicationRecord:
        application = self._application
        is_complete = len(self._calls) == len(application.calls)
        jct_s = max(call.ended_s for call in self._calls) - application.arrival_s if is_complete else None
        return ApplicationRecord(
            application.app_id,
            application.kind,
            application.arrival_s,
            jct_s,
            application.cost,
            tuple(sorted(self._calls, key=lambda call: call.call_id)),
            len(application.calls),
            tuple(self._failures),
        )

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time() - self._epoch_s


def _leaves(group: BaseExceptionGroup[CallFailed]) -> list[CallFailed]:
    leaves: list[CallFailed] = []
    for error in group.exceptions:
        leaves.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return leaves
