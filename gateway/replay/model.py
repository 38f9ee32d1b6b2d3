"""The nouns of a simulation: what runs, on what, by which rules, and what came of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.fairness.cost import call_cost
from gateway.fairness.policies import PolicyName
from gateway.fairness.units import ApplicationId, KvTokenTime
from gateway.ports import FinishedCall, Progress
from gateway.replay.step_time import StepTime
from gateway.workloads.traces import RecordedCall


class EngineModel(Protocol):
    """`engine_patch.simulated.SimulatedEngine`, which the gateway does not import."""

    num_steps: int
    longest_stay: int
    """Iterations from a call's latest admission to its end, the largest of those ended."""

    @property
    def mean_kv_use(self) -> float: ...

    @property
    def has_work(self) -> bool: ...

    @property
    def service(self) -> float:
        """Delivered so far, token·iterations."""
        ...

    def add(
        self, call_id: str, application_id: str, rank: int, prompt: Sequence[int], max_tokens: int, now: float
    ) -> None: ...

    def rerank(self, ranks: Mapping[str, int]) -> None: ...

    def begin_step(self) -> Any: ...

    def end_step(self) -> Any: ...

    def state(self, since: int) -> dict[str, Any]: ...

    def live_service(self) -> dict[str, float]:
        """By application: what its calls in the engine have had, token·iterations."""
        ...


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that the deployed parts take; the defaults are the gateway's own settings and a local network."""

    step: StepTime
    poll_interval_s: float = 0.05
    transit_s: float = 0.002
    """From the gateway's decision until the engine has the call: HTTP and tokenising."""


@dataclass(frozen=True, slots=True)
class SimulatedApplication:
    """One application of the workload, ready to run."""

    application_id: ApplicationId
    kind: str
    arrives_at: float
    calls: tuple[RecordedCall, ...]
    prompts: Mapping[int, Sequence[int]]
    predicted_cost: KvTokenTime
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """What became of one application."""

    application_id: ApplicationId
    kind: str
    arrived_at: float
    finished_at: float
    service: KvTokenTime
    """What the engine says it held."""
    service_at_arrival: float
    """The engine's counter then: the axis on which the fluid server is compared."""
    service_at_finish: float
    tenant: str | None = None

    @property
    def jct_s(self) -> float:
        return self.finished_at - self.arrived_at


@dataclass(frozen=True, slots=True)
class Moment:
    """How everybody who was there stood at one time. Token·iterations."""

    at_s: float
    service: Mapping[ApplicationId, float]
    lag: Mapping[ApplicationId, float]
    """What GPS has given it by now, less what it has had."""


@dataclass(frozen=True, slots=True)
class Run:
    policy: PolicyName
    completions: tuple[Completion, ...]
    """In the order of the workload."""
    num_steps: int
    preemptions: int
    makespan_s: float
    kv_tokens: int
    """The engine's memory."""
    mean_kv_use: float
    """Of the memory, over the steps that computed anything."""
    longest_stay: int
    """Of all calls: iterations from its latest admission to its end."""
    moments: tuple[Moment, ...] = ()
    """Where they were asked for."""


LateRule = Callable[[KvTokenTime, KvTokenTime], KvTokenTime]
"""(predicted cost, service attained) → the cost that its finish time goes by."""

Charging = Callable[[FinishedCall], KvTokenTime]
"""What an ended call counts for its application."""


def as_measured(call: FinishedCall) -> KvTokenTime:
    """What the engine says it held, shared blocks divided among those who share them."""
    return call.service


def in_full(call: FinishedCall) -> KvTokenTime:
    """By the formula: as if no block had been shared and none lost."""
    return call_cost(call.prompt_tokens, call.output_tokens)


Refine = Callable[[ApplicationId, Progress], KvTokenTime | None]
"""What its total looks like by then; None: as predicted."""
