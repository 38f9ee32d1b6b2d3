"""Small builders, so that a test says only what matters to it."""

from collections.abc import Mapping

from gateway.fairness.policies import PolicyName, policy_named
from gateway.fairness.units import ApplicationId, KvTokenTime, Tokens, VirtualTime, Weight
from gateway.identity.terms import NO_LIMITS, TenantTerms
from gateway.ports import EngineState
from gateway.scheduling.admission import Limits
from gateway.scheduling.events import ApplicationRanked, EngineReported
from gateway.scheduling.model import Call
from gateway.scheduling.scheduler import Scheduler


def engine_state(
    free: int = 1000,
    *,
    capacity: int = 1000,
    waiting: int = 0,
    waiting_calls: set[str] | None = None,
    slots: int = 256,
    running: int = 0,
    patched: bool = True,
) -> EngineState:
    return EngineState(
        incarnation=1,
        service=KvTokenTime(0.0),
        capacity_kv_tokens=Tokens(capacity),
        free_kv_tokens=Tokens(free),
        max_num_seqs=slots,
        num_running=running,
        num_waiting=waiting,
        waiting_calls=frozenset(waiting_calls or ()) if patched else None,
        preemptions=0,
    )


def report(engine: str = "e1", as_of: float = 0.0, models: tuple[str, ...] = ("m",), **state: object) -> EngineReported:
    return EngineReported(engine, as_of, models, engine_state(**state))  # type: ignore[arg-type]


def ranked(
    name: str, finish: float, *, cost: float = 100.0, service: float = 0.0, arrived: float = 0.0
) -> ApplicationRanked:
    return ApplicationRanked(
        ApplicationId(name), arrived, Weight(1000), VirtualTime(finish), KvTokenTime(cost), KvTokenTime(service)
    )


def call(
    call_id: str,
    application: str,
    *,
    prompt: int = 100,
    at: float = 0.0,
    deadline: float = 1e9,
    model: str = "m",
    max_tokens: int | None = None,
    size: int = 10,
    tenant: str = "",
) -> Call:
    return Call(
        call_id,
        ApplicationId(application),
        model,
        at,
        deadline,
        Tokens(prompt),
        None if max_tokens is None else Tokens(max_tokens),
        KvTokenTime(float(prompt)),
        size,
        tenant,
    )


def make_scheduler(
    policy: PolicyName = "justitia",
    engines: tuple[str, ...] = ("e1",),
    *,
    margin: int = 1,
    max_calls: int = 1000,
    max_bytes: int = 10**6,
    grace_s: float = 5.0,
    terms: Mapping[str, TenantTerms] | None = None,
) -> Scheduler:
    of_tenants = {} if terms is None else terms
    return Scheduler(
        policy_named(policy),
        engines,
        limits=Limits(max_calls, max_bytes),
        margin=margin,
        unreachable_grace_s=grace_s,
        terms_of=lambda tenant: of_tenants.get(tenant, NO_LIMITS),
    )
