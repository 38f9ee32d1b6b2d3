"""What ended calls have cost, on its way from this gateway into the shared store."""

from collections.abc import Callable, Sequence

from gateway.fairness.units import KvTokenTime
from gateway.ports import Standing
from gateway.scheduling.application_store import ApplicationStore
from gateway.scheduling.local_application import LocalApplication


class Charges:
    """A sweep and an application's end may send at the same time: each sends what the other does not."""

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
        taken, of them or because it is away (StoreUnavailable), stays with its application."""
        amounts = {local.record.application_id: KvTokenTime(local.to_send) for local in applications if local.to_send}
        if not amounts:
            return []
        charged = [local for local in applications if local.record.application_id in amounts]
        for local in charged:
            local.sending += amounts[local.record.application_id]
        try:
            standings = await self._store.charge(amounts, self._now())
        finally:
            for local in charged:
                local.sending -= amounts[local.record.application_id]
        unknown = []
        for local in charged:
            standing = standings.get(local.record.application_id)
            if standing is None:
                unknown.append(local)
            else:
                local.unsent_service -= amounts[local.record.application_id]
                self._on_placed(local, standing)
        return unknown
