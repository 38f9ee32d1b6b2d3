"""Of gateways that share a shelf and a record, one trains, and the others take what it published."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.composition import make_toolkit
from gateway.errors import StoreUnavailable
from gateway.fairness.units import KvTokenTime
from gateway.identity import KindRegistry
from gateway.learning.learning import Learning
from gateway.learning.trained import TrainedPredictor
from gateway.learning.turns import HOLD_S, turn_held
from gateway.metrics import Metrics
from gateway.ports import ClosedApplication, Prediction
from gateway.settings import LearningSettings
from gateway.stores.redis_history import RedisHistory
from gateway.stores.redis_shelf import RedisShelf
from tests.conftest import RedisServer
from tests.fakes.waiting import until
from tests.learning.test_learning import blob_of, loads, version_of

pytestmark = pytest.mark.redis

FIRST = Prediction(KvTokenTime(7.0), "default")


class Gateway:
    """What learns in one, on a Redis that others use too."""

    def __init__(self, url: str, prefix: str, cost: float) -> None:
        self.cost = cost
        self.trainings = 0
        self.may_end = asyncio.Event()
        self.shelf = RedisShelf(url, prefix=prefix, timeout_s=10)
        toolkit = make_toolkit()
        self.predictor = TrainedPredictor(toolkit, KvTokenTime(7.0), keeps_words=False)
        self.learning = Learning(
            RedisHistory(url, prefix=prefix, timeout_s=10, max_entries=1000),
            self.shelf,
            self.predictor,
            type(toolkit)(toolkit.features_of, toolkit.progress_of, loads),
            LearningSettings(poll_interval_s=0.02, training_interval_s=0.02),
            Metrics("justitia", KindRegistry()),
            lambda: 0.0,
            self._train,
        )

    async def _train(self) -> bool:
        self.trainings += 1
        await self.may_end.wait()
        await self.shelf.publish(blob_of(self.cost))
        return True

    def close_many(self) -> None:
        closed = ClosedApplication(1.0, "k", KvTokenTime(7.0), None, None, "default", KvTokenTime(9.0), {}, ())
        for _ in range(30):
            self.learning.closed(closed, FIRST)

    @property
    def version(self) -> str | None:
        return None if self.predictor.artifact is None else self.predictor.artifact.version

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Gateway"]:
        task = asyncio.create_task(self.learning.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.learning.aclose()


@pytest.fixture
def prefix() -> str:
    return f"{{test:{secrets.token_hex(8)}}}"


async def test_one_trains_and_the_others_take_what_it_published(redis_url: str, prefix: str) -> None:
    gateways = [Gateway(redis_url, prefix, cost) for cost in (100.0, 200.0, 300.0)]
    one, other, third = gateways
    async with one.running(), other.running(), third.running():
        for gateway in gateways:
            gateway.close_many()

        async def all_were_due() -> bool:
            return all(gateway.learning._num_new == 0 for gateway in gateways)

        await until(all_were_due)
        assert sum(gateway.trainings for gateway in gateways) == 1
        (trainer,) = [gateway for gateway in gateways if gateway.trainings]
        trainer.may_end.set()

        async def all_have_it() -> bool:
            return all(gateway.version == version_of(blob_of(trainer.cost)) for gateway in gateways)

        await until(all_have_it)
        # One that becomes due right after leaves it be: the record was just learnt from.
        for gateway in gateways:
            gateway.may_end.set()
            if gateway is not trainer:
                gateway.close_many()
        await until(all_were_due)
        assert sum(gateway.trainings for gateway in gateways) == 1
        # The one whose turn it is still may.
        trainer.close_many()
        trainer.close_many()

        async def has_trained_again() -> bool:
            return trainer.trainings == 2

        await until(has_trained_again)


async def test_a_turn_is_held_while_it_lasts_and_rests_after(redis_url: str, prefix: str) -> None:
    here, there = [RedisShelf(redis_url, prefix=prefix, timeout_s=10) for _ in range(2)]
    async with turn_held(here, "here", 0.05) as is_ours:
        assert is_ours
        async with turn_held(there, "there", 0.05) as is_theirs:
            assert not is_theirs
        assert await there._redis.client.pttl(f"{prefix}:predictor:turn") > 1000 * HOLD_S / 2
    assert 0 < await there._redis.client.pttl(f"{prefix}:predictor:turn") <= 50

    async def is_free() -> bool:
        return await there.hold_turn("there", 5.0)

    await until(is_free)
    assert not await here.hold_turn("here", 5.0)
    for shelf in (here, there):
        await shelf.aclose()


async def test_one_that_is_ended_in_its_turn_does_not_keep_it_for_ever(redis_url: str, prefix: str) -> None:
    gateway = Gateway(redis_url, prefix, 100.0)
    async with gateway.running():
        gateway.close_many()

        async def trains() -> bool:
            return gateway.trainings == 1

        await until(trains)
    shelf = RedisShelf(redis_url, prefix=prefix, timeout_s=10)
    assert 0 < await shelf._redis.client.pttl(f"{prefix}:predictor:turn") <= 1000 * HOLD_S
    assert not await shelf.hold_turn("another", 1.0)
    await shelf.aclose()


async def test_without_redis_nobody_trains_and_it_stays_due(redis_server: RedisServer, prefix: str) -> None:
    gateway = Gateway(redis_server.url, prefix, 100.0)
    async with gateway.running():
        redis_server.kill()
        gateway.close_many()
        with pytest.raises(StoreUnavailable):
            await gateway.shelf.hold_turn("another", 1.0)
        assert gateway.trainings == 0
        redis_server.start()

        async def trains() -> bool:
            return gateway.trainings == 1

        await until(trains)
