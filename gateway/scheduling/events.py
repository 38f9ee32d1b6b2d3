"""What the scheduler is told, and what it answers. Times are seconds on the caller's monotonic clock."""

from collections.abc import Mapping

from gateway.fairness.units import ApplicationId, KvTokenTime, VirtualTime, Weight
from gateway.ports import EngineState
from gateway.scheduling.model import Call, Outcome, Refusal, Usage
from gateway.values import value

# --- events ---------------------------------------------------------------------------------------------------------


@value
class ApplicationRanked:
    """An application is known, or its place has changed. `arrived_at` is Unix seconds, the same for every gateway."""

    application_id: ApplicationId
    arrived_at: float
    weight: Weight
    virtual_finish_time: VirtualTime
    predicted_cost: KvTokenTime
    service: KvTokenTime


@value
class ApplicationForgotten:
    """Closed: nothing more is known of it."""

    application_id: ApplicationId


@value
class CallArrived:
    """A call of an application that was ranked before."""

    call: Call


@value
class CallAnswering:
    """The first byte of its answer is here: it runs."""

    call_id: str


@value
class CallEnded:
    """It is over as far as the outside is concerned: answered, failed, or its client left (waiting or dispatched)."""

    call_id: str
    outcome: Outcome
    usage: Usage | None = None


@value
class EngineReported:
    """An engine is up and says how full it is. The reading began at `as_of`."""

    engine: str
    as_of: float
    models: tuple[str, ...]
    state: EngineState


@value
class EngineLost:
    engine: str


@value
class RunningElsewhere:
    """How many calls of capped tenants run at other gateways. Caps may have changed too: look at all of them."""

    calls: Mapping[str, int]


@value
class TimePassed:
    """Look at the deadlines."""


@value
class MemoryRead:
    """By how much the process is over its limit; 0 or less: it is not."""

    excess_bytes: int


@value
class DrainBegan:
    """Take nothing new; what waits is refused, what runs may finish."""


Event = (
    ApplicationRanked
    | ApplicationForgotten
    | CallArrived
    | CallAnswering
    | CallEnded
    | EngineReported
    | EngineLost
    | RunningElsewhere
    | MemoryRead
    | TimePassed
    | DrainBegan
)

# --- decisions ------------------------------------------------------------------------------------------------------


@value
class Dispatch:
    """Send this call to this engine, to run there in order of `rank`."""

    call_id: str
    engine: str
    rank: float


@value
class End:
    """This call has ended, once and for all."""

    call_id: str
    outcome: Outcome
    refusal: Refusal | None = None


@value
class Rerank:
    """What these applications have in this engine has a new rank."""

    engine: str
    ranks: Mapping[ApplicationId, float]


Decision = Dispatch | End | Rerank
