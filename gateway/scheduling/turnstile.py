"""The scheduler as the calls meet it: events go in, a call waits for its turn, and what is decided is carried out."""

import asyncio
from collections.abc import Callable, Mapping

from gateway.errors import GatewayError
from gateway.fairness.units import ApplicationId
from gateway.scheduling.engine_feed import EngineFeed
from gateway.scheduling.events import CallArrived, Decision, Dispatch, End, Event, Rerank
from gateway.scheduling.model import Call, Waiting
from gateway.scheduling.places import Places
from gateway.scheduling.refusals import Refused, error_of, shutting_down
from gateway.scheduling.retry_after import RetryAfter
from gateway.scheduling.scheduler import Scheduler


class Turnstile:
    def __init__(self, scheduler: Scheduler, feeds: Mapping[str, EngineFeed], now: Callable[[], float]) -> None:
        """`feeds`: of the engines by name; may be filled later, before the first event."""
        self._scheduler = scheduler
        self._feeds = feeds
        self._now = now
        self._places = Places(scheduler)
        self._retry_after = RetryAfter()
        self._turns: dict[str, asyncio.Future[Dispatch]] = {}

    def tell(self, event: Event, now: float | None = None) -> None:
        """`now`: where it was read a moment ago."""
        if now is None:
            now = self._now()
        for decision in self._scheduler.handle(event, now):
            self._carry_out(decision, now)

    async def turn_of(self, call: Call) -> Dispatch:
        """Raises Refused. Who stops waiting must tell `CallEnded`."""
        turn: asyncio.Future[Dispatch] = asyncio.get_running_loop().create_future()
        self._turns[call.call_id] = turn
        self.tell(CallArrived(call))
        try:
            return await turn
        finally:
            del self._turns[call.call_id]
            del turn  # it keeps its exception, whose traceback leads back to here

    def _carry_out(self, decision: Decision, now: float) -> None:
        match decision:
            case Dispatch(call_id):
                self._retry_after.dispatched(now)
                self._places.dispatched(call_id, now)
                turn = self._turns.get(call_id)
                if turn is not None and not turn.done():
                    turn.set_result(decision)
            case End(call_id):
                turn = self._turns.get(call_id)
                if turn is not None and not turn.done():
                    turn.set_exception(Refused(decision))
            case Rerank(engine, ranks):
                for application_id, rank in ranks.items():
                    self._feeds[engine].rerank(application_id, rank)

    # --- readings ---

    def error_of(self, refused: Refused, tenant: str) -> GatewayError:
        """What its client is told. Counts it as one that will come back."""
        return error_of(refused.end, tenant, self._scheduler.num_waiting, self._retry_after, self._now())

    def shutting_down(self, now: float) -> GatewayError:
        return shutting_down(self._retry_after, now)

    def waiting(self, call_id: str) -> Waiting | None:
        """Where a call stands; None if it does not wait (any more). Cheap enough to be asked once a second for each."""
        return self._places.of_call(call_id, self._now())

    def wait_s(self, application_id: ApplicationId) -> float | None:
        """Until the next of its waiting calls is dispatched."""
        return self._places.wait_s(application_id, self._now())

    def oldest_wait_s(self) -> float:
        """0 where nobody waits."""
        oldest = self._scheduler.call(next(iter(self._turns), ""))  # they wait in the order they came
        return self._now() - oldest.arrived_at if oldest is not None else 0.0
