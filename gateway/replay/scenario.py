"""One workload on one engine, on which any policy can be tried."""

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from gateway.fairness.cost import counted_cost
from gateway.fairness.policies import PolicyName
from gateway.fairness.shares import SharesName
from gateway.fairness.units import ApplicationId, KvTokenTime
from gateway.ports import Progress
from gateway.replay.costs import Costs
from gateway.replay.model import (
    Charging,
    EngineModel,
    LateRule,
    Run,
    SimulatedApplication,
    Timing,
    as_measured,
)
from gateway.replay.prompts import Prompts
from gateway.replay.simulation import Simulation
from gateway.replay.step_time import StepTime
from gateway.scheduling.course import WORTH_REVISING
from gateway.settings import SchedulingSettings
from gateway.tiny_model import ensure_tiny_model
from gateway.workloads.workload import Workload, WorkloadError


@dataclass(frozen=True, slots=True)
class EngineShape:
    """What decides who fits: vLLM's own settings, under its own names where it has one."""

    kv_blocks: int = 459
    """All of them can be held."""
    block_size: int = 16
    max_num_seqs: int = 256
    token_budget: int = 2048
    """vLLM's `max_num_batched_tokens` for a server."""
    has_prefix_caching: bool = False
    passing_iterations: int = 0
    """Our patch's own: for how long calls may go past one that does not fit (`engine_patch.passing`)."""

    @property
    def kv_tokens(self) -> int:
        return self.kv_blocks * self.block_size


class Scenario:
    """Raises WorkloadError for a workload with a call that can never run here."""

    def __init__(self, workload: Workload, shape: EngineShape, step: StepTime) -> None:
        for application in workload.applications:
            if any(call.completion_tokens >= shape.kv_tokens for call in application.calls):
                raise WorkloadError(f"application {application.app_id}: a call is larger than the KV memory")
        self._workload = workload
        self._timing = Timing(step)
        self._make_engine, answer_token = _engine_maker(shape)
        prompts = Prompts(answer_token, shape.kv_tokens, are_shared=shape.has_prefix_caching)
        self._prompts = [prompts.of(one) for one in workload.applications]

    def run(
        self,
        policy: PolicyName,
        costs: Costs,
        *,
        shares: SharesName = "application",
        late_rule: LateRule = counted_cost,
        charging: Charging = as_measured,
        refine: Callable[[int, Progress], KvTokenTime | None] | None = None,
        worth_revising: float = WORTH_REVISING,
        moments_every_s: float | None = None,
    ) -> Run:
        """`costs[i]` is what is predicted for the workload's i-th application, `refine(i, …)` what it is later."""
        rows = zip(self._workload.applications, self._workload.arrivals_s, self._prompts, costs, strict=True)
        applications = [
            SimulatedApplication(
                ApplicationId(f"{number:06d}"),  # one recording may be drawn twice
                recorded.kind,
                arrives_at,
                recorded.calls,
                prompts,
                cost,
                recorded.tenant,
            )
            for number, (recorded, arrives_at, prompts, cost) in enumerate(rows)
        ]
        return Simulation(
            applications,
            policy,
            self._make_engine(),
            self._timing,
            margin=SchedulingSettings().dispatch_margin_calls,
            shares=shares,
            late_rule=late_rule,
            charging=charging,
            refine=None if refine is None else lambda name, progress: refine(int(name), progress),
            worth_revising=worth_revising,
            moments_every_s=moments_every_s,
        ).run()


@cache
def _vllm() -> tuple[Any, Any]:
    """The module that simulates with vLLM, which the gateway runs without, and vLLM's configuration: seconds."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # it logs to stdout, which is for our answer
    simulated: Any = importlib.import_module("engine_patch.simulated")
    return simulated, simulated.load_config(str(ensure_tiny_model()))


def _engine_maker(shape: EngineShape) -> tuple[Callable[[], EngineModel], int]:
    """What makes a fresh engine, and the token that its model always answers."""
    simulated, config = _vllm()

    def make() -> EngineModel:
        engine: EngineModel = simulated.SimulatedEngine(
            config,
            num_blocks=shape.kv_blocks,
            block_size=shape.block_size,
            max_num_seqs=shape.max_num_seqs,
            token_budget=shape.token_budget,
            has_prefix_caching=shape.has_prefix_caching,
            passing_iterations=shape.passing_iterations,
        )
        return engine

    return make, simulated.PLAIN_TOKEN
