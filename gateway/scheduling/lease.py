"""A dispatched call, as whoever forwards it holds it, and what tells that it may be made anew."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.fairness.units import ApplicationId, VirtualTime
from gateway.ports import Engine
from gateway.scheduling.model import Usage


@dataclass(slots=True)
class Lease:
    """Where to send the call, and what to tell about it."""

    call_id: str
    engine: Engine
    rank: float
    queue_s: float
    virtual_finish_time: VirtualTime
    application_id: ApplicationId
    _on_first_byte: Callable[[], None]
    usage: Usage | None = None
    """Set by whoever reads the answer, when it has seen it."""
    has_answered: bool = False

    def first_byte(self) -> None:
        if not self.has_answered:
            self.has_answered = True
            self._on_first_byte()


class TryElsewhere(Exception):
    """The engine failed the call before it had answered. The same may be asked once more, as a new call that avoids
    it."""

    def __init__(self, engine: str) -> None:
        super().__init__(engine)
        self.engine = engine
