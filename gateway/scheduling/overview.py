"""The whole gateway at one look: who is served, in which order, who waits, and what holds each of them. Pure.

Made once of a reading of everything (`make_overview`), then cut to what somebody may see and wants to see (`seen_by`):
a tenant has its own applications by name and everybody else's as numbers.

What holds an application (`model.Hold`) is told of the first of its waiting calls.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.fairness.cost import remaining_cost
from gateway.fairness.units import ApplicationId, KvTokenTime, Tokens, VirtualTime
from gateway.ports import EngineMode, EngineState
from gateway.scheduling.model import ApplicationDescription, Hold

MAX_NAMED_ON_ENGINE = 50
"""Applications an engine's view names; the calls of others are a number."""

MAX_AHEAD = 20
"""Of those before an application, the nearest; as in `describe`."""


# --- what is read ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Foremost:
    """Of an application's waiting calls, the one whose turn comes first."""

    model: str
    calls_ahead: int
    """Of its model, those of capped tenants included."""
    is_served: bool
    """Somebody who is up serves its model."""


@dataclass(frozen=True, slots=True)
class TenantSight:
    """A tenant's limits, as far as they can hold its calls back."""

    has_room: bool = True
    """Another call of it may run."""
    max_running_calls: int | None = None
    running_calls: int = 0
    """Here and at other gateways, where there is a cap; else 0."""
    quota_wait_s: float = 0.0
    """Until the smallest call would not be refused; 0: it would not be."""


@dataclass(frozen=True, slots=True)
class CallsOn:
    """One application's calls inside one engine."""

    num_calls: int
    num_waiting: int
    """Of these, known to wait in there."""


@dataclass(frozen=True, slots=True)
class EngineSight:
    """One engine, and what this gateway has in it."""

    name: str
    mode: EngineMode | None
    """None: it does not answer."""
    state: EngineState | None
    """As last read."""
    service_rate: float
    """token·iterations a second."""
    calls: Mapping[ApplicationId, CallsOn]


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything, at one time."""

    virtual_time: VirtualTime
    num_backlogged: int
    descriptions: tuple[ApplicationDescription, ...]
    """In order of virtual finish time."""
    is_cut: bool
    """There are more applications than a listing holds."""
    foremost: Mapping[ApplicationId, Foremost]
    """Of applications with waiting calls."""
    tenants: Mapping[str, TenantSight]
    """At least of the described applications."""
    engines: tuple[EngineSight, ...]
    service_rate: float
    calls_waiting: int
    calls_running: int
    store_is_up: bool


# --- what is made of it ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One application in the order."""

    application: ApplicationDescription
    hold: Hold
    on: tuple[tuple[str, CallsOn], ...]
    """Engines with calls of it."""


@dataclass(frozen=True, slots=True)
class Overview:
    reading: Reading
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asks to see. `text` is looked for in tenant, name, kind and hold, in any case."""

    limit: int = 100
    text: str = ""
    with_calls: bool = False
    """Only applications with calls here."""
    chosen: ApplicationId | None = None


@dataclass(frozen=True, slots=True)
class OnEngine:
    """What runs in an engine, as far as it may be named."""

    named: tuple[tuple[ApplicationId, CallsOn], ...]
    num_other_calls: int
    """Of applications that are not named."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """Who is before an application, in order."""

    nearest: tuple[ApplicationDescription, ...]
    num_others: int
    """Other tenants' applications, of all that are ahead."""
    num_all: int
    work: KvTokenTime
    """What all of them are still predicted to cost."""


@dataclass(frozen=True, slots=True)
class Chosen:
    row: Row
    ahead: Ahead
    tenant: TenantSight
    calls_ahead: int | None
    """Waiting calls before the first of its own; None where none of its own waits."""


@dataclass(frozen=True, slots=True)
class View:
    """What one viewer sees. Sums are everybody's."""

    rows: tuple[Row, ...]
    num_matching: int
    """Of the viewer's applications, so many are as was asked; `rows` are the first of them."""
    num_own: int
    num_all: int
    engines: tuple[OnEngine, ...]
    """In the order of `Reading.engines`."""
    chosen: Chosen | None


def make_overview(reading: Reading) -> Overview:
    held = _holds_of_waiting(reading)
    on = _engines_by_application(reading.engines)
    rows = [
        Row(
            description,
            held.get(description.application_id) or _hold_without_calls(reading.tenants[description.tenant]),
            tuple(on.get(description.application_id, ())),
        )
        for description in reading.descriptions
    ]
    return Overview(reading, tuple(rows))


def seen_by(overview: Overview, tenant: str | None, wanted: Wanted) -> View:
    """`tenant` None sees everything."""
    own = overview.rows if tenant is None else [row for row in overview.rows if row.application.tenant == tenant]
    matching = [row for row in own if _is_wanted(row, wanted)]
    chosen = next((row for row in own if row.application.application_id == wanted.chosen), None)
    return View(
        rows=tuple(matching[: wanted.limit]),
        num_matching=len(matching),
        num_own=len(own),
        num_all=len(overview.rows),
        engines=tuple(_on_engine(engine, tenant) for engine in overview.reading.engines),
        chosen=None if chosen is None else _closely(overview, chosen, tenant),
    )


def kv_used(state: EngineState) -> Tokens:
    return Tokens(max(0, state.capacity_kv_tokens - state.free_kv_tokens))


def _is_wanted(row: Row, wanted: Wanted) -> bool:
    application = row.application
    if wanted.with_calls and not (application.calls_waiting or application.calls_running):
        return False
    text = wanted.text.casefold()
    return not text or any(text in word.casefold() for word in (application.application_id, application.kind, row.hold))


def _closely(overview: Overview, row: Row, tenant: str | None) -> Chosen:
    before = [other.application for other in overview.rows[: row.application.position - 1]]
    own = [other for other in before if tenant is None or other.tenant == tenant]
    foremost = overview.reading.foremost.get(row.application.application_id)
    return Chosen(
        row=row,
        ahead=Ahead(
            nearest=tuple(own[-MAX_AHEAD:]),
            num_others=len(before) - len(own),
            num_all=len(before),
            work=KvTokenTime(sum(remaining_cost(other.predicted_cost, other.service) for other in before)),
        ),
        tenant=overview.reading.tenants[row.application.tenant],
        calls_ahead=None if foremost is None else foremost.calls_ahead,
    )


def _hold_without_calls(tenant: TenantSight) -> Hold:
    return Hold.QUOTA if tenant.quota_wait_s > 0 else Hold.NOTHING


def _holds_of_waiting(reading: Reading) -> dict[ApplicationId, Hold]:
    """By model and from the front, because calls that a cap holds back are in nobody's way."""
    waiting = [row for row in reading.descriptions if row.application_id in reading.foremost]
    waiting.sort(key=lambda row: reading.foremost[row.application_id].calls_ahead)
    num_passed: Counter[str] = Counter()
    holds: dict[ApplicationId, Hold] = {}
    for row in waiting:
        call = reading.foremost[row.application_id]
        if not call.is_served:
            hold = Hold.NO_ENGINE
        elif not reading.tenants[row.tenant].has_room:
            hold = Hold.TENANT_CAP
            num_passed[call.model] += row.calls_waiting
        else:
            hold = Hold.ORDER if call.calls_ahead > num_passed[call.model] else Hold.CAPACITY
        holds[row.application_id] = hold
    return holds


def _engines_by_application(engines: Sequence[EngineSight]) -> dict[ApplicationId, list[tuple[str, CallsOn]]]:
    found: dict[ApplicationId, list[tuple[str, CallsOn]]] = {}
    for engine in engines:
        for application_id, calls in engine.calls.items():
            found.setdefault(application_id, []).append((engine.name, calls))
    return found


def _on_engine(engine: EngineSight, tenant: str | None) -> OnEngine:
    named = sorted(_visible(engine, tenant), key=lambda pair: (-pair[1].num_calls, pair[0]))[:MAX_NAMED_ON_ENGINE]
    num_all = sum(calls.num_calls for calls in engine.calls.values())
    return OnEngine(tuple(named), num_all - sum(calls.num_calls for _, calls in named))


def _visible(engine: EngineSight, tenant: str | None) -> Iterator[tuple[ApplicationId, CallsOn]]:
    for application_id, calls in engine.calls.items():
        if tenant is None or application_id.startswith(f"{tenant}/"):
            yield application_id, calls
