"""One charge at a time, as most tests want it."""

from gateway.fairness.units import ApplicationId, KvTokenTime
from gateway.ports import Standing, StateStore


async def charge_one(
    store: StateStore, application_id: ApplicationId, service: KvTokenTime, now: float
) -> Standing | None:
    return (await store.charge({application_id: service}, now)).get(application_id)
