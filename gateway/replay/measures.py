"""What a run showed: completion times, and who was later than elsewhere.

Lateness against another policy is the ratio of one application's completion times in two runs of one workload. Lateness
against the fluid server is in service, not in seconds: how much the engine had delivered when the application finished,
less how much GPS needs to have delivered for that, over the same arrivals and with what each application really held as
its cost. Below zero: earlier than under exactly fair sharing. Beside it stands 2·M·D (docs/algorithm.md derives it), M
being the memory and D the longest stay of a call in this run: a bound where all calls of an application come at once,
and a yardstick where it has stages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from gateway.fairness.gps import FluidArrival
from gateway.figures import aligned, percentile
from gateway.replay.ideal import ideal_finishes
from gateway.replay.model import Run


@dataclass(frozen=True, slots=True)
class GroupMeasures:
    applications: int
    mean_jct_s: float
    p90_jct_s: float


@dataclass(frozen=True, slots=True)
class PolicyMeasures:
    policy: str
    applications: int
    mean_jct_s: float
    p90_jct_s: float
    p99_jct_s: float
    makespan_s: float
    share_later_than_vtc: float | None
    """None where vtc was not run."""
    worst_ratio_to_vtc: float | None
    worst_lateness_to_gps: int
    """Token·iterations of the engine's service."""
    delay_bound: int
    """2·M·D, token·iterations."""
    mean_kv_use: float
    preemptions: int
    engine_steps: int
    by_kind: Mapping[str, GroupMeasures]
    by_tenant: Mapping[str, GroupMeasures]
    """Of those that have one."""

    def as_dict(self) -> dict[str, Any]:
        """Without tenants where nobody has one."""
        value = asdict(self)
        return value if self.by_tenant else {name: value[name] for name in value if name != "by_tenant"}


def measures(run: Run, vtc: Run | None = None) -> PolicyMeasures:
    """`vtc`: the run of the same workload under that policy."""
    jcts = [completion.jct_s for completion in run.completions]
    ratios = None if vtc is None else ratios_to(run, vtc)
    by_kind: dict[str, list[float]] = {}
    by_tenant: dict[str, list[float]] = {}
    for completion in run.completions:
        by_kind.setdefault(completion.kind, []).append(completion.jct_s)
        if completion.tenant is not None:
            by_tenant.setdefault(completion.tenant, []).append(completion.jct_s)
    return PolicyMeasures(
        policy=run.policy,
        applications=len(jcts),
        mean_jct_s=round(fmean(jcts), 3),
        p90_jct_s=round(percentile(jcts, 0.9), 3),
        p99_jct_s=round(percentile(jcts, 0.99), 3),
        makespan_s=round(run.makespan_s, 3),
        share_later_than_vtc=None if ratios is None else round(fmean(ratio > 1 for ratio in ratios), 4),
        worst_ratio_to_vtc=None if ratios is None else round(max(ratios), 3),
        worst_lateness_to_gps=round(max(lateness_to_gps(run))),
        delay_bound=2 * run.kv_tokens * run.longest_stay,
        mean_kv_use=round(run.mean_kv_use, 4),
        preemptions=run.preemptions,
        engine_steps=run.num_steps,
        by_kind=_of_groups(by_kind),
        by_tenant=_of_groups(by_tenant),
    )


def _of_groups(jcts_s: Mapping[str, Sequence[float]]) -> dict[str, GroupMeasures]:
    return {
        name: GroupMeasures(len(values), round(fmean(values), 3), round(percentile(values, 0.9), 3))
        for name, values in sorted(jcts_s.items())
    }


def ratios_to(run: Run, other: Run) -> list[float]:
    """This run's completion times over the other's, in the order of the workload."""
    return [mine.jct_s / its.jct_s for mine, its in zip(run.completions, other.completions, strict=True)]


def lateness_to_gps(run: Run) -> list[float]:
    """Token·iterations, in the order of the workload."""
    ideal = ideal_finishes(
        FluidArrival(c.application_id, at=c.service_at_arrival, cost=c.service) for c in run.completions
    )
    return [c.service_at_finish - ideal[c.application_id] for c in run.completions]


def table(reports: Sequence[PolicyMeasures]) -> str:
    head = ["policy", "mean JCT", "P90", "P99", "all done", "later than vtc", "worst to vtc", "lateness of bound"]
    head += ["KV use", "preempted", "steps"]
    rows = [
        [
            r.policy,
            f"{r.mean_jct_s:.1f} s",
            f"{r.p90_jct_s:.1f} s",
            f"{r.p99_jct_s:.1f} s",
            f"{r.makespan_s:.1f} s",
            "–" if r.share_later_than_vtc is None else f"{r.share_later_than_vtc:.0%}",
            "–" if r.worst_ratio_to_vtc is None else f"{r.worst_ratio_to_vtc:.1f}x",
            f"{r.worst_lateness_to_gps / r.delay_bound:.2f}",
            f"{r.mean_kv_use:.0%}",
            str(r.preemptions),
            str(r.engine_steps),
        ]
        for r in reports
    ]
    return aligned([head, *rows], left=(0,))
