"""Which ended calls of one engine are still to be charged, and with what. Pure: fed by the engine feed.

An engine with our patch reports what each call really held, in one record or in several (`n` > 1), before or after its
answer has been relayed to the end. So a call is settled by the first reading that began after it had ended here and
that has brought a record of it. Where no record comes (a stock engine, a restart, an engine that vanished) the formula
over its tokens serves.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.fairness.units import ApplicationId, KvTokenTime
from gateway.ports import FinishedCall
from gateway.values import value

RECORD_PATIENCE_S = 30.0
"""A record comes with the next reading; after this long without one it is given up."""


@dataclass(slots=True)
class _Account:
    application_id: ApplicationId
    is_recorded: bool = False
    is_orphan: bool = False
    """The engine that had it is gone: no record will come."""
    estimate: KvTokenTime | None = None
    ended_at: float | None = None


@value
class Charge:
    call_id: str
    application_id: ApplicationId
    service: KvTokenTime
    is_last: bool
    """The call is settled with it."""


class Accounts:
    def __init__(self) -> None:
        self._open: dict[str, _Account] = {}

    def __len__(self) -> int:
        return len(self._open)

    def sent(self, call_id: str, application_id: ApplicationId) -> None:
        self._open[call_id] = _Account(application_id)

    def ended(self, call_id: str, estimate: KvTokenTime, now: float, *, expects_record: bool) -> Charge | None:
        """Its answer is over. Without a record to come, it is charged by formula."""
        account = self._open[call_id]
        if account.is_recorded or (expects_record and not account.is_orphan):
            account.estimate, account.ended_at = estimate, now
            return None
        del self._open[call_id]
        return Charge(call_id, account.application_id, estimate, is_last=True)

    def read(self, records: Iterable[FinishedCall], as_of: float) -> list[Charge]:
        """What a reading that began at `as_of` settles."""
        charges: list[Charge] = []
        for record in records:
            account = self._open.get(record.call_id)
            if account is not None:
                account.is_recorded = True
                charges.append(Charge(record.call_id, account.application_id, record.service, is_last=False))
        for call_id, account in list(self._open.items()):
            if account.ended_at is None or account.estimate is None or account.ended_at > as_of:
                continue
            is_given_up = account.is_orphan or as_of - account.ended_at > RECORD_PATIENCE_S
            if account.is_recorded or is_given_up:
                del self._open[call_id]
                service = KvTokenTime(0.0) if account.is_recorded else account.estimate
                charges.append(Charge(call_id, account.application_id, service, is_last=True))
        return charges

    def orphan(self) -> None:
        """The engine was restarted: what it had is gone."""
        for account in self._open.values():
            account.is_orphan = True
