"""Where waiting calls stand, and how long they will wait at the pace at which their model's queue moves. Pure."""

from gateway.fairness.units import ApplicationId
from gateway.scheduling.model import Waiting
from gateway.scheduling.pace import ModelPaces
from gateway.scheduling.scheduler import Scheduler


class Places:
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._paces = ModelPaces()

    def dispatched(self, call_id: str, now: float) -> None:
        call = self._scheduler.call(call_id)
        if call is not None:
            self._paces.dispatched(call.model, now)

    def of_call(self, call_id: str, now: float) -> Waiting | None:
        """None if it does not wait (any more)."""
        call, ahead = self._scheduler.call(call_id), self._scheduler.calls_ahead(call_id, now)
        if call is None or ahead is None:
            return None
        return Waiting(ahead, self._paces.wait_s(call.model, ahead, now))

    def wait_s(self, application_id: ApplicationId, now: float) -> float | None:
        """Until the next of its waiting calls is dispatched."""
        places = [self.of_call(call.call_id, now) for call in self._scheduler.waiting_calls(application_id)]
        waits = [place.expected_wait_s for place in places if place is not None]
        return min((wait for wait in waits if wait is not None), default=None)
