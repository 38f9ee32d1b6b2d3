"""What ended calls have cost, on its way from this gateway into the shared store."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack

from gateway.fairness.units import ApplicationId, KvTokenTime
from gateway.ports import Standing
from gateway.scheduling.application_store import ApplicationStore
from gateway.scheduling.local_application import LocalApplication


class Charges:
    def __init__(
        self,
        store: ApplicationStore,
        now: Callable[[], float],
        on_placed: Callable[[LocalApplication, Standing], None],
    ) -> None:
        self._store = store
        self._now = now
        self._on_placed = on_placed

    async def send(self, applications: Sequence[LocalApplication]) -> list[LocalApplication]:
        """Those that the store does not know: closed by another gateway, or forgotten with its memory. What it has not
        taken, of them or because it is away (StoreUnavailable), stays with its application.

        A sweep and an application's end may send at the same time. Each waits for the other: an answer that is still
        to come may be in the service that the store tells, and nobody could say whether it is.
        """
        async with AsyncExitStack() as held:
            for local in applications:
                await held.enter_async_context(local.telling)
            return await self._sent(
                {local.record.application_id: local for local in applications if local.unsent_service}
            )

    async def _sent(self, charged: Mapping[ApplicationId, LocalApplication]) -> list[LocalApplication]:
        if not charged:
            return []
        amounts = {application_id: KvTokenTime(local.unsent_service) for application_id, local in charged.items()}
        standings = await self._store.charge(amounts, self._now())
        for application_id, standing in standings.items():
            local = charged[application_id]
            local.unsent_service -= amounts[application_id]
            self._on_placed(local, standing)
        return [local for application_id, local in charged.items() if application_id not in standings]
