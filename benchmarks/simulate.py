"""One simulated run, for the studies in this folder."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from engine_patch.simulated import PLAIN_TOKEN, SimulatedEngine, load_config
from gateway.fairness.cost import counted_cost
from gateway.fairness.policies import PolicyName
from gateway.fairness.units import ApplicationId, KvTokenTime
from gateway.replay.prompts import Prompts
from gateway.replay.simulation import LateRule, Run, SimulatedApplication, Simulation, Timing
from gateway.replay.step_time import StepTime
from gateway.settings import SchedulingSettings
from gateway.tiny_model import ensure_tiny_model
from gateway.workloads.workload import Workload

BLOCK_SIZE = 16
STEP = StepTime(base_s=0.025, per_token_s=30e-6, per_kv_token_s=0.0)
"""The design's study: 25 ms and 30 µs a token."""


@cache
def config() -> tuple[Any, Any]:
    return load_config(str(ensure_tiny_model()))


def simulate(
    workload: Workload,
    policy: PolicyName,
    costs: Sequence[KvTokenTime],
    *,
    kv_blocks: int = 459,
    late_rule: LateRule = counted_cost,
    has_prefix_caching: bool = False,
) -> Run:
    engine = SimulatedEngine(
        config(),
        num_blocks=kv_blocks,
        block_size=BLOCK_SIZE,
        max_num_seqs=256,
        token_budget=2048,
        has_prefix_caching=has_prefix_caching,
    )
    prompts = Prompts(PLAIN_TOKEN, kv_blocks * BLOCK_SIZE, are_shared=has_prefix_caching)
    applications = [
        SimulatedApplication(
            ApplicationId(f"{number:06d}"), recorded.kind, at, recorded.calls, prompts.of(number, recorded), cost
        )
        for number, (recorded, at, cost) in enumerate(
            zip(workload.applications, workload.arrivals_s, costs, strict=True)
        )
    ]
    margin = SchedulingSettings().dispatch_margin_calls
    return Simulation(applications, policy, engine, Timing(STEP), margin=margin, late_rule=late_rule).run()
