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
    _on_first_byte: Callable[[], float]
    """Answers when that was."""
    usage: Usage | None = None
    """Set by whoever reads the answer, when it has seen it."""
    first_byte_at: float | None = None

    def first_byte(self) -> None:
        if self.first_byte_at is None:
            self.first_byte_at = self._on_first_byte()

    @property
    def has_answered(self) -> bool:
        return self.first_byte_at is not None


class TryElsewhere(Exception):
    """The engine failed the call before it had answered. The same may be asked once more, as a new call that avoids
    it."""

    def __init__(self, engine: str) -> None:
        super().__init__(engine)
        self.engine = engine
