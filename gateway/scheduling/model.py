"""The nouns of scheduling: calls, their life, the engines as the scheduler sees them."""

from enum import StrEnum

from gateway.fairness.units import ApplicationId, KvTokenTime, Tokens, VirtualTime, Weight
from gateway.identity import Identity
from gateway.values import value


class CallStatus(StrEnum):
    WAITING = "waiting"
    DISPATCHED = "dispatched"
    ENDED = "ended"


LEGAL_TRANSITIONS: dict[CallStatus, frozenset[CallStatus]] = {
    CallStatus.WAITING: frozenset({CallStatus.DISPATCHED, CallStatus.ENDED}),
    CallStatus.DISPATCHED: frozenset({CallStatus.ENDED}),
    CallStatus.ENDED: frozenset(),
}


class Outcome(StrEnum):
    """How a call ended; every call ends in exactly one. The label of `justitia_calls_total`."""

    COMPLETED = "completed"
    """The engine answered to the end, be it with an error of its own."""
    RETRIED = "retried"
    """Its engine failed before it had answered; a new call, for another engine, has taken its place."""
    FAILED = "failed"
    """The engine could not be reached, hung, or broke off."""
    CANCELLED = "cancelled"
    """The client left."""
    REJECTED = "rejected"
    """Turned away before queueing."""
    EVICTED = "evicted"
    """Left the queue without having been dispatched."""


class Refusal(StrEnum):
    """Why the scheduler itself ended a call."""

    QUEUE_FULL = "queue_full"
    SHED = "shed"
    """It waited, and gave way: the memory for waiting calls was full."""
    QUOTA_EXCEEDED = "quota_exceeded"
    SHUTTING_DOWN = "shutting_down"
    QUEUE_TIMEOUT = "queue_timeout"
    MODEL_NOT_FOUND = "model_not_found"
    COST_EXCEEDS_CAPACITY = "cost_exceeds_capacity"
    ENGINE_UNREACHABLE = "engine_unreachable"


@value
class Usage:
    """Tokens of one call as the engine counted them."""

    prompt_tokens: Tokens
    completion_tokens: Tokens


@value
class Call:
    """One inference call as the queue sees it. Times are seconds on a monotonic clock."""

    call_id: str
    application_id: ApplicationId
    model: str
    arrived_at: float
    deadline_at: float
    """When it leaves the queue undispatched."""
    prompt_tokens: Tokens
    """Estimated."""
    max_tokens: Tokens | None
    predicted_cost: KvTokenTime
    """Of this call alone."""
    body_bytes: int
    tenant: str = ""
    """Whose terms hold for it; "" has none."""
    wants: str | None = None
    """The engine that has what it continues."""
    avoids: str | None = None
    """The engine that has failed it."""


@value
class ApplicationDescription:
    """One application as its owner may see it: where it stands and why it waits."""

    application_id: ApplicationId
    tenant: str
    kind: str
    parent: ApplicationId | None
    weight: Weight
    predicted_cost: KvTokenTime
    service: KvTokenTime
    virtual_start: VirtualTime
    virtual_finish_time: VirtualTime
    virtual_time: VirtualTime
    position: int
    """Among the open applications in order of virtual finish time, 1 is next."""
    ahead: tuple[ApplicationId, ...]
    """Those before it, at most the nearest 20."""
    calls_waiting: int
    """In this gateway; others' calls are theirs to tell."""
    calls_running: int
    expected_finish_s: float | None
    """Seconds from now, at the recent pace of the engines; None before there is a pace."""
    expected_wait_s: float | None
    """Until the next of its waiting calls is dispatched, at the recent pace of its model's queue; None where none waits
    or there is no pace."""
    num_calls: int
    """Of its calls, how many have ended after a dispatch; this and what follows in this gateway, since it knows it."""
    prompt_tokens: Tokens
    completion_tokens: Tokens


class Hold(StrEnum):
    """What holds a waiting call; or an application, by the first of its waiting calls."""

    NO_ENGINE = "no_engine"
    """Nobody who is up serves its model; it waits out the grace of a lost engine."""
    TENANT_CAP = "tenant_cap"
    """Its tenant has as many calls running as it may, and is passed by others meanwhile."""
    ORDER = "order"
    """Calls of its model rank before it and may run."""
    CAPACITY = "capacity"
    """It is the next, and no engine has room for it."""
    QUOTA = "quota"
    """Of an application: none of its calls waits, and one that came now would be refused, because its tenant has used
    up a quota."""
    NOTHING = "nothing"
    """Of an application: none of its calls waits."""


@value
class Waiting:
    """Where one waiting call stands."""

    calls_ahead: int
    """Of its model, in this gateway, as of at most a second ago; those that a cap holds back are counted too."""
    expected_wait_s: float | None
    """Until it is dispatched, at the recent pace of its model's queue; None before there is a pace."""


@value
class CallRequest:
    """What HTTP knows of a call when it asks for its turn."""

    call_id: str
    identity: Identity
    model: str
    prompt_tokens_hint: Tokens | None
    """None: estimated from `body_bytes`."""
    max_tokens: Tokens | None
    body_bytes: int
    declared_cost: KvTokenTime | None
    """Of the whole application, as its client said."""
    text: str = ""
    """What is asked; for prediction only, and never kept."""
    num_tools: int = 0
    shape: str | None = None
    """Of the prompt (`gateway.identity.shapes`): what stands for a kind that nobody named."""
    wants: str | None = None
    """The engine that has what it continues."""
    avoids: str | None = None
    """The engine that has failed it; then it is not sent anywhere a third time."""
    deadline_s: float | None = None
    """From its arrival: how long its client lets it wait for its turn, within what the settings allow."""
