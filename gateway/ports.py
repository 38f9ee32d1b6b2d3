"""The seams: what the gateway needs from a state store, from an engine and from a cost predictor.

Everything here is a value or a Protocol. Adapters (`gateway.stores`, `gateway.engines`) implement the Protocols,
`gateway.composition` picks them, and the rest of the gateway knows no more of them than this page says.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol

from gateway.fairness.units import ApplicationId, KvTokenTime, Tokens, VirtualTime, Weight
from gateway.identity.links import LinkKey
from gateway.values import value

# --- the state store ------------------------------------------------------------------------------------------------


@value
class Arrival:
    """An application's first call, or its declaration."""

    application_id: ApplicationId
    tenant: str
    kind: str
    cost: KvTokenTime
    weight: Weight
    parent: ApplicationId | None = None


@value
class ApplicationRecord:
    """What is shared about one application. Times of day are Unix seconds, for idle closing only, never for order."""

    application_id: ApplicationId
    tenant: str
    kind: str
    parent: ApplicationId | None
    weight: Weight
    predicted_cost: KvTokenTime
    service: KvTokenTime
    """Charged so far: what the calls that have ended really held."""
    virtual_start: VirtualTime
    virtual_finish_time: VirtualTime
    arrived_at: float
    last_seen_at: float


@value
class Standing:
    """One application and the clock, read in the same instant."""

    virtual_time: VirtualTime
    application: ApplicationRecord


@value
class Snapshot:
    """The shared state: the clock, who is unfinished in GPS (in order of finish time, ties by id), and who is open."""

    virtual_time: VirtualTime
    backlogged: tuple[ApplicationId, ...]
    applications: tuple[ApplicationRecord, ...]
    """Open applications in order of (virtual finish time, id)."""


class StateStore(Protocol):
    """Applications and their virtual clock, shared by every gateway that uses the same store.

    Every operation is atomic. All raise `gateway.errors.StoreUnavailable` when the store cannot be reached in time.
    Operations on an unknown application answer None: a flushed store loses order, never a call.
    `now` is Unix seconds from the caller's clock; the store takes the latest it has seen, so skewed or backward
    clocks can delay an idle closing but never move virtual time.
    """

    async def arrive(self, arrival: Arrival, now: float) -> Standing:
        """Open the application: start S = V (or its old finish time, if its id closed while still unfinished in
        GPS), finish F = S + cost/weight. For an id that is open already: no change but `last_seen_at`."""
        ...

    async def serve(self, service: KvTokenTime) -> VirtualTime:
        """Advance the clock by service delivered (>= 0)."""
        ...

    async def report(self, source: str, incarnation: int, counter: KvTokenTime) -> VirtualTime:
        """Advance the clock by what `source`'s monotone counter grew since anybody's last report of it.

        A larger `incarnation` is a restart: the counter counts from zero. A smaller one, or a counter that is not
        larger, is a late or repeated report and changes nothing.
        The first report of a source only sets the mark to count from: nobody knows how much of it was counted before.
        """
        ...

    async def revise(self, application_id: ApplicationId, cost: KvTokenTime) -> Standing | None:
        """A new estimate of the total cost: F = S + cost/weight, for the cost that `counted_cost` (`fairness`) says."""
        ...

    async def charge(self, application_id: ApplicationId, service: KvTokenTime, now: float) -> Standing | None:
        """Add what an ended call really cost to the application's `service`. V stays; F moves if the application has
        had more than was predicted (`fairness.cost.counted_cost`)."""
        ...

    async def touch(self, application_ids: Collection[ApplicationId], now: float) -> None:
        """These applications are alive: they have calls waiting or running."""
        ...

    async def close(self, application_id: ApplicationId, cost: KvTokenTime | None = None) -> Standing | None:
        """The application is finished. With `cost` (measured), settle: F = S + cost/weight, and count it into the
        running mean of its kind. It stays backlogged while F > V. Answers its last standing."""
        ...

    async def expire(self, idle_before: float, limit: int) -> tuple[Standing, ...]:
        """Close, settled at their charged `service`, at most `limit` applications last seen before `idle_before`.
        One that was never charged keeps its prediction and is not counted into the mean of its kind."""
        ...

    async def mean_cost(self, kind: str) -> KvTokenTime | None:
        """Running mean of the settled cost of this kind's closed applications, else of all, else None."""
        ...

    async def restore(self, virtual_time: VirtualTime) -> VirtualTime:
        """Raise the clock to at least this reading: what a gateway last saw, after a store lost its memory."""
        ...

    async def get(self, application_id: ApplicationId) -> Standing | None: ...

    async def snapshot(self, limit: int) -> Snapshot: ...

    async def ping(self) -> None: ...

    async def aclose(self) -> None: ...


# --- what tenants use -----------------------------------------------------------------------------------------------


@value
class TenantShare:
    """What one gateway has to tell of one tenant."""

    tokens: float = 0.0
    """Used since it last told; below 0 corrects an estimate."""
    kv_token_time: float = 0.0
    """token·iterations."""
    tokens_leak: float = 0.0
    """A second: the quota over its period. 0: nothing is forgotten of it but with the tenant's time to live."""
    kv_token_time_leak: float = 0.0
    num_running: int = 0
    """Calls of it that run at this gateway now."""


@value
class TenantTotals:
    """What all gateways together have told of one tenant."""

    tokens: float
    """What has not leaked yet."""
    kv_token_time: float
    running_elsewhere: int
    """At the other gateways that have told of it in the last few seconds."""


class UsageLedger(Protocol):
    """What tenants use, added up over all gateways that use the same ledger.

    Raises `gateway.errors.StoreUnavailable` when it cannot be reached in time.
    """

    async def exchange(
        self, gateway: str, sequence: int, shares: Mapping[str, TenantShare]
    ) -> Mapping[str, TenantTotals]:
        """Add these shares, of at most a few hundred tenants, and answer those tenants' totals. Atomic.

        A sequence number of this gateway that is not larger than its last one adds nothing: what may have been lost can
        be told again. Quotas leak by the ledger's own clock. Raises ValueError for numbers that cannot be."""
        ...

    async def aclose(self) -> None: ...


# --- links between calls --------------------------------------------------------------------------------------------


class LinkStore(Protocol):
    """What earlier calls left for later ones to be recognised by, shared where the store is. Never raises: what cannot
    be found or noted costs order, no call."""

    async def find(self, tenant: str, keys: Sequence[LinkKey]) -> Mapping[LinkKey, str]:
        """Names by those of the keys that are known; when one is, those after it may be left out."""
        ...

    async def note(self, tenant: str, links: Mapping[LinkKey, str]) -> None: ...

    async def aclose(self) -> None: ...


# --- engines --------------------------------------------------------------------------------------------------------


@value
class FinishedCall:
    """The engine's own account of a call that ended there, in whatever way."""

    sequence: int
    call_id: str
    service: KvTokenTime
    """KV memory really held over iterations; a block shared by n calls counts 1/n to each."""
    prompt_tokens: Tokens
    cached_tokens: Tokens
    output_tokens: Tokens
    preemptions: int


@value
class EngineState:
    """One reading of an engine. An engine without our patch reports no records, and `service` None."""

    incarnation: int
    """Grows with every start of the engine (nanoseconds at its start)."""
    service: KvTokenTime | None
    """KV token-iterations delivered since its start; monotone within one incarnation."""
    capacity_kv_tokens: Tokens
    free_kv_tokens: Tokens
    """Unheld tokens, those kept only as prefix cache included."""
    max_num_seqs: int
    num_running: int
    num_waiting: int
    waiting_calls: frozenset[str] | None
    """Ids of our calls that wait inside the engine (bounded); None where the engine cannot tell."""
    preemptions: int
    finished: tuple[FinishedCall, ...] = ()
    next_sequence: int = 0


@value
class EngineMode:
    """How far this engine follows our order."""

    name: str
    """`patched` (order, live re-ranking, exact accounting), `priority` (stock vLLM with --scheduling-policy priority:
    order only), or `unordered` (stock vLLM with fcfs: only the gateway's queue is ordered)."""
    models: tuple[str, ...]


@value
class EngineRequest:
    """One HTTP request to an engine. `headers` (names in lower case) already lacks what steers the engine; the adapter
    sets those."""

    method: str
    path: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    call_id: str
    application_id: ApplicationId
    rank: float


class EngineResponse(Protocol):
    """An answer that has begun: status and headers are here, the body is still to be read."""

    status: int
    headers: list[tuple[bytes, bytes]]

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises EngineUnreachable (reset) or EngineTimeout (silent for too long)."""
        ...

    async def aclose(self) -> None:
        """Hang up; an unfinished call is aborted in the engine."""
        ...


class Engine(Protocol):
    """One vLLM server."""

    name: str
    """Fit for a metric label: host:port."""

    async def probe(self) -> EngineMode:
        """Ask what it serves and how far it follows us. Raises EngineError."""
        ...

    async def send(self, request: EngineRequest) -> EngineResponse:
        """Raises EngineUnreachable or EngineTimeout before the answer has begun."""
        ...

    async def read_state(self, since: int) -> EngineState:
        """Its state and the finished records from sequence number `since` on. Raises EngineError."""
        ...

    async def rerank(self, ranks: Mapping[ApplicationId, float]) -> None:
        """Re-order what these applications have in the engine. No effect on a stock engine. Raises EngineError."""
        ...

    async def aclose(self) -> None: ...


# --- the cost predictor ---------------------------------------------------------------------------------------------


@value
class FirstCall:
    """What is known of an application when its first call arrives."""

    kind: str
    tenant: str
    model: str
    prompt_tokens: Tokens
    """Estimated from the length of the body."""
    max_tokens: Tokens | None
    text: str = ""
    """What is asked: the end of the prompt, without what every run of the kind has. Never kept."""
    num_tools: int = 0


@value
class Progress:
    """How far an application has come when one of its calls has ended."""

    num_ended: int
    num_open: int
    """Its calls that this gateway knows to wait or to run."""
    open_prompt_tokens: Tokens
    """Of those, together."""
    service: KvTokenTime
    """What the ended ones held."""


@value
class Prediction:
    """What an application is going to cost in all. `low` and `high` hold the true cost in four cases of five, and are
    None where nobody knows how wrong `cost` may be."""

    cost: KvTokenTime
    predictor: str
    """A trained one's version, or `mean`, `default`, `declared`."""
    low: KvTokenTime | None = None
    high: KvTokenTime | None = None
    basis: object = None
    """What it was predicted from, in its predictor's own form; None: nothing that could be learnt from."""


MeanCost = Callable[[str], Awaitable[KvTokenTime | None]]
"""`StateStore.mean_cost`, or what stands before it."""


class CostPredictor(Protocol):
    async def predict(self, call: FirstCall, mean_cost: MeanCost) -> Prediction:
        """Raises what `mean_cost` raises, if it has to ask."""
        ...

    def refine(self, first: Prediction, progress: Progress) -> Prediction:
        """Knowing how far it has come since `first`; `first` itself where nothing is to be learnt from that."""
        ...

    def kept(self, prediction: Prediction) -> Mapping[str, object] | None:
        """Its basis as it may be kept and learnt from: JSON, no text. None without one."""
        ...


# --- what predictors learn from, and what they are ------------------------------------------------------------------


@value
class ClosedApplication:
    """What is kept of an application when it has closed: for training, and to see how wrong predictions are."""

    closed_at: float
    """Unix seconds."""
    kind: str
    predicted_cost: KvTokenTime
    """When its first call came."""
    low: KvTokenTime | None
    high: KvTokenTime | None
    predictor: str
    cost: KvTokenTime
    """Measured; more than 0."""
    features: Mapping[str, object]
    progress: tuple[Progress, ...]
    """After some of its calls: not every one of a long one's."""


class History(Protocol):
    """The latest closed applications, a bounded number of them. Shared where the store is.

    All raise `gateway.errors.StoreUnavailable` when it cannot be reached in time, or written.
    """

    async def append(self, closed: ClosedApplication) -> None: ...

    async def read(self, limit: int) -> list[ClosedApplication]:
        """The latest, oldest first. Skips what cannot be read (another version's), and never raises for it."""
        ...

    async def aclose(self) -> None: ...


@value
class ShelfMark:
    """Which artifact is in use."""

    version: str
    previous: str | None
    """What it replaced, and what a roll-back goes to; None: the running mean."""
    rolled_back: tuple[str, ...] = ()
    """Versions that are not to be used again, latest last, at most 16."""


class ArtifactShelf(Protocol):
    """Trained predictors by version, of which one is in use. Shared where the store is. An artifact is a blob whose
    version is the first 16 hex digits of its SHA-256.

    All raise `gateway.errors.StoreUnavailable` when it cannot be reached in time, or written.
    """

    async def mark(self) -> ShelfMark | None:
        """None: nothing was ever published, or the mark cannot be read."""
        ...

    async def fetch(self, version: str) -> bytes | None:
        """None: not there. What it is worth is for the reader to check."""
        ...

    async def publish(self, blob: bytes) -> ShelfMark:
        """Put it there and take it into use; what is in use now becomes the previous one. No change if it is in use
        already, and none if it was rolled back. The last few versions are kept, older ones removed."""
        ...

    async def roll_back(self, version: str) -> ShelfMark | None:
        """If `version` is in use: the previous one is (version "" for the running mean), and `version` never again.
        Answers what is in use then. Of several gateways that ask at the same time, one changes it."""
        ...

    async def aclose(self) -> None: ...
