"""What an application is thought to cost, from its first call on: predicted, predicted again, refined while it runs,
and put into the order anew where that is worth it."""

from collections.abc import Callable
from contextlib import suppress

from gateway.errors import StoreUnavailable
from gateway.fairness.units import KvTokenTime
from gateway.ports import CostPredictor, FirstCall, MeanCost, Prediction, Standing
from gateway.scheduling.application_store import ApplicationStore
from gateway.scheduling.course import Course, is_worth_revising
from gateway.scheduling.local_application import LocalApplication


class CostRevision:
    def __init__(
        self,
        predictor: CostPredictor,
        store: ApplicationStore,
        on_placed: Callable[[LocalApplication, Standing], None],
    ) -> None:
        self._predictor = predictor
        self._store = store
        self._on_placed = on_placed

    async def predicted(self, first_call: FirstCall) -> Prediction:
        """Raises StoreUnavailable."""
        return await self._predictor.predict(first_call, self._store.mean_cost)

    async def first_call_came(self, local: LocalApplication, first_call: FirstCall) -> None:
        """Of an application that was declared ahead of it: now there is something to predict from."""
        with suppress(StoreUnavailable):
            prediction = await self.predicted(first_call)
            if prediction.basis is None or not local.course.awaits_first_call:
                return
            local.course = Course(prediction)
            await self._go_by(prediction, local)

    def means_asked_once(self) -> MeanCost:
        """Of every kind, for one sweep."""
        known: dict[str, KvTokenTime | None] = {}

        async def asked(kind: str) -> KvTokenTime | None:
            if kind not in known:
                known[kind] = await self._store.mean_cost(kind)
            return known[kind]

        return asked

    async def looked_at_again(self, local: LocalApplication, mean_cost: MeanCost) -> None:
        """Raises StoreUnavailable."""
        if local.course.is_guess:
            await self._predict_again(local, mean_cost)
        else:
            await self._refine(local)

    async def _predict_again(self, local: LocalApplication, mean_cost: MeanCost) -> None:
        """By what has been learnt since. One that came when nothing was known, and waits, would otherwise stand behind
        everybody who comes when more is."""
        course = local.course
        known = await self._predictor.again(course.first, local.record.kind, mean_cost)
        if course is not local.course or not course.is_guess or local.is_settling:  # while the store was asked
            return
        course.first = known
        await self._go_by(known, local)

    async def _refine(self, local: LocalApplication) -> None:
        """Its cost as it looks by now."""
        progress = local.course.progress(local.service)
        if progress is None or local.is_settling:
            return
        refined = self._predictor.refine(local.course.first, progress)
        if refined is not local.course.first:
            await self._go_by(refined, local)

    async def _go_by(self, prediction: Prediction, local: LocalApplication) -> None:
        if not is_worth_revising(prediction.cost, local.record.predicted_cost):
            return
        standing = await self._store.revise(local.record.application_id, prediction.cost)
        if standing is not None:
            self._on_placed(local, standing)
