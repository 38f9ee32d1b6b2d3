"""The loops around the shelf and the history, with models whose answers the test knows."""

import asyncio
import hashlib
import json
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from gateway.composition import make_toolkit
from gateway.fairness.units import KvTokenTime, Tokens
from gateway.identity import KindRegistry
from gateway.learning.learning import Learning
from gateway.learning.trained import Artifact, TrainedPredictor, UnusableArtifact
from gateway.learning.watch import MIN_SEEN
from gateway.metrics import Metrics
from gateway.ports import ClosedApplication, FirstCall, Prediction, Progress
from gateway.settings import LearningSettings
from gateway.stores.file_history import FileHistory
from gateway.stores.folder_shelf import FolderShelf
from tests.fakes.waiting import until

CALL = FirstCall("k", "tenant", "model", Tokens(100), None, "what is asked", 2)


@dataclass(frozen=True)
class Fixed:
    """A model that always says the same; and, once an application has come some way, twice what it has had."""

    cost: float
    kinds: tuple[str, ...] = ("k",)

    def quantiles(self, asked: Sequence[Any]) -> Any:
        return [[math.log(self.cost / 2), math.log(self.cost), math.log(self.cost * 2)] for _ in asked]

    def refined(self, asked: Any, progress: Any) -> Any:
        return [math.log(progress.service * share) for share in (1.5, 2.0, 3.0)]


@dataclass(frozen=True)
class FixedArtifact:
    version: str
    model: Fixed
    about: dict[str, Any] = field(default_factory=dict)


def blob_of(cost: float, **about: Any) -> bytes:
    return json.dumps({"cost": cost, **about}).encode()


def version_of(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()[:16]


def loads(blob: bytes) -> Artifact:
    try:
        about = json.loads(blob)
    except ValueError:
        raise UnusableArtifact("it is not JSON") from None
    return FixedArtifact(version_of(blob), Fixed(about["cost"]), about)


class Place:
    """A gateway's learning on a folder of its own; a second on the same folder is a second gateway, or a restart."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.time = 0.0
        self.trainings = 0
        self.toolkit = replace(make_toolkit(), loads=loads)
        self.predictor = TrainedPredictor(self.toolkit, KvTokenTime(7.0), keeps_words=False)
        self.shelf = FolderShelf(folder / "shelf")
        self.file = folder / "closed.jsonl"
        self.history = FileHistory(self.file)
        self.metrics = Metrics("justitia", KindRegistry())
        self.learning = Learning(
            self.history,
            self.shelf,
            self.predictor,
            self.toolkit,
            LearningSettings(poll_interval_s=0.01, training_interval_s=0.01, **settings),
            self.metrics,
            lambda: self.time,
            self._train,
        )
        self.task: asyncio.Task[None] | None = None

    async def _train(self) -> bool:
        self.trainings += 1
        return True

    def start(self) -> None:
        self.task = asyncio.create_task(self.learning.run())

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        await self.learning.aclose()

    async def predict(self) -> Prediction:
        async def nobody_knows(kind: str) -> KvTokenTime | None:
            return None

        return await self.predictor.predict(CALL, nobody_knows)

    async def close_one(self, cost: float, first: Prediction | None = None) -> None:
        first = first or await self.predict()
        features = self.predictor.kept(first)
        assert features is not None
        closed = ClosedApplication(
            1.0, "k", first.cost, first.low, first.high, first.predictor, KvTokenTime(cost), features, ()
        )
        self.learning.closed(closed, first)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    one = Place(tmp_path)
    yield one
    await one.stop()


def now(condition: Callable[[], object]) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return bool(condition())

    return look


async def test_before_anything_was_learnt_the_mean_serves(place: Place) -> None:
    assert (await place.predict()).predictor == "default"
    await place.close_one(10.0)
    await place.close_one(30.0)
    said = await place.predict()
    assert (said.cost, said.predictor, said.low) == (20.0, "mean", None)


async def test_what_is_published_is_taken_into_use_and_says_how_sure_it_is(place: Place) -> None:
    mark = await place.shelf.publish(blob_of(100.0))
    await place.learning.follow()
    said = await place.predict()
    assert (said.predictor, said.cost, said.low, said.high) == (
        mark.version,
        pytest.approx(100),
        pytest.approx(50),
        pytest.approx(200),
    )
    newer = await place.shelf.publish(blob_of(200.0))
    await place.learning.follow()
    assert (await place.predict()).predictor == newer.version


async def test_it_is_refined_by_how_far_it_has_come(place: Place) -> None:
    progress = Progress(1, 2, Tokens(30), KvTokenTime(400.0))
    first = await place.predict()
    assert place.predictor.refine(first, progress) is first
    await place.shelf.publish(blob_of(100.0))
    await place.learning.follow()
    # Predicted before there was an artifact, and refined by it all the same.
    assert place.predictor.refine(first, progress).cost == pytest.approx(800.0)
    declared = Prediction(KvTokenTime(5.0), "declared")
    assert place.predictor.refine(declared, progress) is declared


async def test_an_application_declared_before_its_first_call_has_its_kinds_mean(place: Place) -> None:
    await place.close_one(10.0)
    await place.shelf.publish(blob_of(100.0))
    await place.learning.follow()

    async def mean(kind: str) -> KvTokenTime | None:
        return KvTokenTime(30.0)

    said = await place.predictor.predict(FirstCall("k", "tenant", "", Tokens(0), None), mean)
    assert (said.predictor, said.cost, said.basis) == ("mean", 10.0, None)
    other = await place.predictor.predict(FirstCall("another", "tenant", "", Tokens(0), None), mean)
    assert other.cost == 30.0


async def test_no_text_and_no_words_are_kept(place: Place) -> None:
    await place.close_one(10.0)
    place.start()
    await until(now(lambda: place.file.exists() and place.file.stat().st_size))
    [closed] = await place.history.read(10)
    with_words = TrainedPredictor(place.toolkit, KvTokenTime(7.0), keeps_words=True)
    kept = with_words.kept(await place.predict())
    assert kept is not None
    assert len(json.dumps(dict(kept))) > len(json.dumps(dict(closed.features)))
    assert "asked" not in place.file.read_text()


async def test_after_a_restart_the_means_are_known(place: Place, tmp_path: Path) -> None:
    place.start()
    for _ in range(3):
        await place.close_one(50.0)
    await place.stop()  # which writes what waits
    restarted = Place(tmp_path)
    restarted.start()
    await until(now(lambda: restarted.predictor.means.of_all() is not None))
    assert (await restarted.predict()).cost == 50.0
    await restarted.stop()


async def test_an_artifact_that_is_worse_than_the_mean_is_rolled_back_for_good(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    blob = blob_of(100.0)
    for _ in range(3):
        await place.close_one(10.0)
    await place.shelf.publish(blob)
    await place.learning.follow()
    for _ in range(MIN_SEEN):
        await place.close_one(10.0)
    with caplog.at_level(logging.WARNING):
        await place.learning.follow()
    assert "rolled back" in caplog.text
    assert (await place.predict()).predictor == "mean"
    await place.shelf.publish(blob)
    await place.learning.follow()
    assert (await place.predict()).predictor == "mean"


async def test_it_goes_back_to_the_one_before_if_that_was_better(place: Place) -> None:
    good = await place.shelf.publish(blob_of(10.0))
    await place.learning.follow()
    await place.shelf.publish(blob_of(1000.0))
    await place.learning.follow()
    for _ in range(MIN_SEEN):
        await place.close_one(10.0)
    await place.learning.follow()
    assert (await place.predict()).predictor == good.version


async def test_a_new_one_is_judged_by_what_it_said_itself(place: Place) -> None:
    await place.close_one(10.0)
    await place.shelf.publish(blob_of(1000.0))
    await place.learning.follow()
    said_before = [await place.predict() for _ in range(MIN_SEEN)]
    for _ in range(MIN_SEEN - 1):
        await place.close_one(10.0)
    good = await place.shelf.publish(blob_of(11.0))
    await place.learning.follow()
    for first in said_before:
        await place.close_one(10.0, first)
    for _ in range(2):
        await place.close_one(10.0)
    await place.learning.follow()
    assert (await place.predict()).predictor == good.version


async def test_a_good_one_stays(place: Place) -> None:
    await place.close_one(400.0)
    mark = await place.shelf.publish(blob_of(100.0, mean_abs_log_error=0.5))
    await place.learning.follow()
    for number in range(3 * MIN_SEEN):
        await place.close_one(90.0 + number % 20)
        await place.learning.follow()
    assert (await place.predict()).predictor == mark.version
    drift = place.metrics.registry.get_sample_value("justitia_prediction_drift_ratio", {"policy": "justitia"})
    assert drift == pytest.approx(0.1, abs=0.05)


async def test_a_shelf_that_lost_its_memory_takes_nothing_away(place: Place, tmp_path: Path) -> None:
    mark = await place.shelf.publish(blob_of(100.0))
    await place.learning.follow()
    for path in (tmp_path / "shelf").iterdir():
        path.unlink()
    await place.learning.follow()
    assert (await place.predict()).predictor == mark.version


async def test_what_cannot_be_used_is_said_once_and_changes_nothing(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    mark = await place.shelf.publish(blob_of(100.0))
    await place.learning.follow()
    await place.shelf.publish(b"rubbish")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await place.learning.follow()
    assert caplog.text.count("cannot be used: it is not JSON") == 1
    assert (await place.predict()).predictor == mark.version


async def test_training_is_asked_for_when_it_is_due(place: Place) -> None:
    place.start()
    for _ in range(29):
        await place.close_one(10.0)
    await asyncio.sleep(0.1)
    assert place.trainings == 0
    await place.close_one(10.0)
    await until(now(lambda: place.trainings == 1))
    await asyncio.sleep(0.1)
    assert place.trainings == 1


async def test_where_only_means_are_wanted_the_shelf_is_not_followed(tmp_path: Path) -> None:
    one = Place(tmp_path, predictor="mean")
    await one.shelf.publish(blob_of(100.0))
    one.start()
    await asyncio.sleep(0.1)
    assert (await one.predict()).predictor == "default"
    await one.stop()


async def test_what_cannot_be_kept_stops_nothing(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.start()
    with caplog.at_level(logging.WARNING):
        said_before = await place.predict()
        await place.close_one(1e18)  # more than any application can cost
        await place.close_one(10.0, said_before)
        await until(now(lambda: place.file.exists() and place.file.stat().st_size))
    assert "is not kept" in caplog.text
    assert [closed.cost for closed in await place.history.read(10)] == [10.0]


async def test_a_folder_that_cannot_be_written_is_said_once_and_nothing_stops(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    one = Place(tmp_path / "file")
    with caplog.at_level(logging.WARNING):
        one.start()
        for _ in range(5):
            await one.close_one(10.0)
        await one.learning._keeping.write()
        await one.close_one(10.0)
        await one.learning._keeping.write()
    assert caplog.text.count("is not being kept") == 1
    assert (await one.predict()).cost == 10.0
    assert one.task is not None
    assert not one.task.done()
    await one.stop()
