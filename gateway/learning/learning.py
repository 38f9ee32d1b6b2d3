"""The loops: keep what closes, follow the shelf, go back where that was better, have training done in time."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from uuid import uuid4

from gateway.errors import StoreUnavailable
from gateway.learning.keeping import Keeping
from gateway.learning.schedule import is_due
from gateway.learning.trained import Artifact, Toolkit, TrainedPredictor, UnusableArtifact, said_by
from gateway.learning.turns import TrainingTurns, turn_held
from gateway.learning.watch import Watch
from gateway.metrics import Metrics
from gateway.ports import ArtifactShelf, ClosedApplication, History, Prediction, ShelfMark
from gateway.settings import LearningSettings

log = logging.getLogger(__name__)

_READ_AT_START = 500
"""Enough for means; reading thousands takes seconds."""
_CHECK_INTERVAL_S = 10.0

Train = Callable[[], Awaitable[bool]]
"""Has training done and its result published; False if nothing came of it."""


class Learning:
    def __init__(
        self,
        history: History,
        shelf: ArtifactShelf,
        predictor: TrainedPredictor,
        toolkit: Toolkit,
        settings: LearningSettings,
        metrics: Metrics,
        now: Callable[[], float],
        train: Train | None,
    ) -> None:
        """`train` None: somebody else does."""
        self._history = history
        self._shelf = shelf
        self._predictor = predictor
        self._toolkit = toolkit
        self._settings = settings
        self._metrics = metrics
        self._now = now
        self._train = train
        self._keeping = Keeping(history, self._heard_of_history)
        self._num_new = 0
        self._num_learnt = 0
        self._trained_at = now()
        self._turns = shelf if isinstance(shelf, TrainingTurns) else None
        self._name = uuid4().hex[:12]
        self._previous: Artifact | None = None
        self._watch = Watch()
        self._unusable: set[str] = set()
        self._is_away = False
        metrics.predictor_in_use("mean")

    def closed(self, closed: ClosedApplication, first: Prediction) -> None:
        """An application has closed; `first` is what was predicted of it. Never waits."""
        self._note(closed, first)
        self._predictor.means.note(closed.kind, closed.cost)
        self._num_new += 1
        self._keeping.note(closed)

    def _note(self, closed: ClosedApplication, first: Prediction) -> None:
        """Before the means know of it: nobody is measured on what it has seen."""
        artifact = self._predictor.artifact
        if artifact is None or closed.predictor != artifact.version:
            return

        def error(cost: float) -> float:
            return abs(math.log(cost / closed.cost))

        rivals = {}
        mean = self._predictor.means.of_kind(closed.kind)
        if mean is not None:
            rivals["mean"] = error(mean)
        if self._previous is not None:
            rivals["previous"] = error(said_by(self._previous, first.basis).cost)
        self._watch.note(error(closed.predicted_cost), rivals)
        expected = artifact.about.get("mean_abs_log_error")
        if self._watch.mean_error is not None and isinstance(expected, float) and expected > 0:
            self._metrics.prediction_drift(self._watch.mean_error / expected)

    # --- the loops --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled. Nothing that goes wrong here reaches a call."""
        await self._read_history()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keeping.run())
            if self._settings.predictor == "trained":
                group.create_task(self._follow_for_ever())
            if self._train is not None:
                group.create_task(self._train_for_ever(self._train))

    async def _read_history(self) -> None:
        """What the means of kinds were before a restart."""
        try:
            recorded = await self._history.read(_READ_AT_START)
        except StoreUnavailable as error:
            self._away(error)
            return
        self._num_new += len(recorded)  # until it is known that they were learnt from
        for closed in recorded:
            self._predictor.means.note(closed.kind, closed.cost)

    async def _follow_for_ever(self) -> None:
        while True:
            try:
                await self.follow()
            except StoreUnavailable as error:
                self._away(error)
            await asyncio.sleep(self._settings.poll_interval_s)

    async def follow(self) -> None:
        """Go back if that is better, then take what is in use on the shelf."""
        artifact = self._predictor.artifact
        rival = self._watch.better_rival()
        if artifact is not None and rival is not None:
            mark = await self._shelf.roll_back(artifact.version)
            log.warning(
                "predictor %s was rolled back: %s is better on the last applications closed", artifact.version, rival
            )
        else:
            mark = await self._shelf.mark()
        # Without a mark nothing was published, or a store lost its memory: what is in use here stays.
        if mark is not None and mark.version != (artifact.version if artifact is not None else ""):
            await self._take(mark)

    async def _take(self, mark: ShelfMark) -> None:
        version = mark.version
        artifact = await self._fetch(version) if version else None
        if version and artifact is None:
            return  # what is in use here stays
        self._previous = await self._fetch(mark.previous) if mark.previous else None
        self._predictor.artifact = artifact
        self._watch = Watch()
        self._metrics.predictor_in_use("mean" if artifact is None else "trained")
        if artifact is not None:
            self._num_learnt, self._num_new = int(artifact.about.get("examples", 0)), 0
            self._trained_at = self._now()
        log.info("costs are predicted by %s", "running means" if artifact is None else f"predictor {version}")

    async def _fetch(self, version: str) -> Artifact | None:
        if version in self._unusable:
            return None
        blob = await self._shelf.fetch(version)
        if blob is None:
            return None
        try:
            return self._toolkit.loads(blob)
        except UnusableArtifact as error:
            self._unusable.add(version)
            log.warning("predictor %s cannot be used: %s", version, error)
            return None

    async def _train_for_ever(self, train: Train) -> None:
        while True:
            await asyncio.sleep(min(_CHECK_INTERVAL_S, self._settings.training_interval_s))
            since_s = self._now() - self._trained_at
            if is_due(self._num_new, self._num_learnt, since_s, self._settings.training_interval_s):
                try:
                    await self._train_in_turn(train)
                except StoreUnavailable as error:  # it stays due
                    self._away(error)

    async def _train_in_turn(self, train: Train) -> None:
        # Until then the others have looked whether they are due, and at the shelf.
        rest_s = _CHECK_INTERVAL_S + 3 * self._settings.poll_interval_s
        async with turn_held(self._turns, self._name, rest_s) as is_ours:
            self._trained_at = self._now()
            self._num_learnt, self._num_new = self._num_learnt + self._num_new, 0
            log.info("training begins" if is_ours else "training is left to another gateway, whose turn it is")
            if is_ours:
                await train()

    def _heard_of_history(self, error: StoreUnavailable | None) -> None:
        if error is None:
            self._is_away = False
        else:
            self._away(error)

    def _away(self, error: StoreUnavailable) -> None:
        if not self._is_away:
            log.warning("what closes is not being kept: %s", error.message)
        self._is_away = True

    async def aclose(self) -> None:
        await self._keeping.write()
        await self._history.aclose()
        await self._shelf.aclose()
