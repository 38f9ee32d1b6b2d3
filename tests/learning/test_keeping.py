"""From closing to the history, with a history that notes what it is given."""

import asyncio
from dataclasses import dataclass, field, replace

from gateway.errors import StoreUnavailable
from gateway.fairness.units import KvTokenTime
from gateway.learning import keeping
from gateway.learning.keeping import Keeping
from gateway.ports import ClosedApplication

CLOSED = ClosedApplication(1.0, "k", KvTokenTime(1.0), None, None, "mean", KvTokenTime(1.0), {}, ())


@dataclass
class Noting:
    """A `History` for writing; what costs nothing cannot be kept."""

    is_away: bool = False
    written: list[list[float]] = field(default_factory=list)

    async def append(self, *closed: ClosedApplication) -> None:
        await asyncio.sleep(0)
        if self.is_away:
            raise StoreUnavailable("away, as the test wants it")
        if any(one.cost <= 0 for one in closed):
            raise ValueError("cost")
        self.written.append([one.cost for one in closed])

    async def read(self, limit: int) -> list[ClosedApplication]:
        raise NotImplementedError

    async def aclose(self) -> None: ...


def closed(cost: float) -> ClosedApplication:
    return replace(CLOSED, cost=KvTokenTime(cost))


def keeping_in(history: Noting) -> tuple[Keeping, list[bool]]:
    """And whether each writing went well."""
    heard: list[bool] = []
    return Keeping(history, lambda error: heard.append(error is None)), heard


async def test_what_closes_within_moments_is_written_at_once() -> None:
    history = Noting()
    one, heard = keeping_in(history)
    task = asyncio.create_task(one.run())
    for number in range(1, 4):
        one.note(closed(number))
        await asyncio.sleep(0.01)
    await asyncio.sleep(2 * keeping._GATHERED_S)
    one.note(closed(4))
    await asyncio.sleep(2 * keeping._GATHERED_S)
    task.cancel()
    assert history.written == [[1, 2, 3], [4]]
    assert heard == [True, True]


async def test_one_that_cannot_be_kept_costs_itself_alone() -> None:
    history = Noting()
    one, heard = keeping_in(history)
    for cost in (1, -1, 2):
        one.note(closed(cost))
    await one.write()
    assert history.written == [[1], [2]]
    assert heard == [True]


async def test_what_closes_while_the_history_is_written_waits_for_the_next() -> None:
    history = Noting()
    one, _ = keeping_in(history)
    one.note(closed(1))
    writing = asyncio.create_task(one.write())
    await asyncio.sleep(0)
    one.note(closed(2))
    await writing
    await one.write()
    await one.write()
    assert history.written == [[1], [2]]


async def test_of_more_than_may_wait_the_latest_are_kept() -> None:
    history = Noting()
    one, _ = keeping_in(history)
    for number in range(1, 2000):
        one.note(closed(number))
    await one.write()
    assert history.written == [list(range(2000 - 1024, 2000))]


async def test_a_history_that_is_away_is_heard_of() -> None:
    history = Noting(is_away=True)
    one, heard = keeping_in(history)
    one.note(closed(1))
    await one.write()
    history.is_away = False
    one.note(closed(2))
    await one.write()
    assert heard == [False, True]
    assert history.written == [[2]]
