"""What the scheduler keeps of applications and of calls that have not ended."""

from dataclasses import dataclass, field

from gateway.fairness.policies import ApplicationView, CallView
from gateway.scheduling.engine_window import EngineWindow
from gateway.scheduling.model import Call, CallStatus


@dataclass(slots=True)
class WithCalls:
    """An application."""

    view: ApplicationView
    waiting: set[str] = field(default_factory=set)
    dispatched: set[str] = field(default_factory=set)
    is_forgotten: bool = False

    @property
    def has_calls(self) -> bool:
        return bool(self.waiting or self.dispatched)


@dataclass(slots=True)
class Entry:
    """A call."""

    call: Call
    view: CallView
    status: CallStatus = CallStatus.WAITING
    engine: EngineWindow | None = None
