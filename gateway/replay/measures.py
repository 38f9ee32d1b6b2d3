"""What a run showed: completion times, and who was later than elsewhere.

Lateness against another policy is the ratio of one application's completion times in two runs of one workload. Lateness
against the fluid server is in service, not in seconds: how much the engine had delivered when the application finished,
less how much GPS needs to have delivered for that (`gateway.fairness.gps`), over the same arrivals and with what each
application really held as its cost. Below zero: earlier than under exactly fair sharing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from gateway.fairness.gps import FluidArrival, fluid_gps
from gateway.figures import aligned, percentile
from gateway.replay.simulation import Run


@dataclass(frozen=True, slots=True)
class KindMeasures:
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
    worst_lateness_to_gps: float
    """Token·iterations of the engine's service."""
    preemptions: int
    engine_steps: int
    by_kind: dict[str, KindMeasures]

    def as_dict(self) -> dict[str, Any]:
        kinds = {
            kind: {
                "applications": k.applications,
                "mean_jct_s": round(k.mean_jct_s, 3),
                "p90_jct_s": round(k.p90_jct_s, 3),
            }
            for kind, k in self.by_kind.items()
        }
        return {
            "policy": self.policy,
            "applications": self.applications,
            "mean_jct_s": round(self.mean_jct_s, 3),
            "p90_jct_s": round(self.p90_jct_s, 3),
            "p99_jct_s": round(self.p99_jct_s, 3),
            "makespan_s": round(self.makespan_s, 3),
            "share_later_than_vtc": self.share_later_than_vtc,
            "worst_ratio_to_vtc": self.worst_ratio_to_vtc,
            "worst_lateness_to_gps": round(self.worst_lateness_to_gps),
            "preemptions": self.preemptions,
            "engine_steps": self.engine_steps,
            "by_kind": kinds,
        }


def measures(run: Run, vtc: Run | None = None) -> PolicyMeasures:
    """`vtc`: the run of the same workload under that policy."""
    jcts = [completion.jct_s for completion in run.completions]
    ratios = None if vtc is None else ratios_to(run, vtc)
    by_kind: dict[str, list[float]] = {}
    for completion in run.completions:
        by_kind.setdefault(completion.kind, []).append(completion.jct_s)
    return PolicyMeasures(
        policy=run.policy,
        applications=len(jcts),
        mean_jct_s=fmean(jcts),
        p90_jct_s=percentile(jcts, 0.9),
        p99_jct_s=percentile(jcts, 0.99),
        makespan_s=run.makespan_s,
        share_later_than_vtc=None if ratios is None else round(fmean(ratio > 1 for ratio in ratios), 4),
        worst_ratio_to_vtc=None if ratios is None else round(max(ratios), 3),
        worst_lateness_to_gps=max(lateness_to_gps(run)),
        preemptions=run.preemptions,
        engine_steps=run.num_steps,
        by_kind={k: KindMeasures(len(v), fmean(v), percentile(v, 0.9)) for k, v in sorted(by_kind.items())},
    )


def ratios_to(run: Run, other: Run) -> list[float]:
    """This run's completion times over the other's, in the order of the workload."""
    return [mine.jct_s / its.jct_s for mine, its in zip(run.completions, other.completions, strict=True)]


def lateness_to_gps(run: Run) -> list[float]:
    """Token·iterations, in the order of the workload."""
    ideal = fluid_gps(FluidArrival(c.application_id, at=c.service_at_arrival, cost=c.service) for c in run.completions)
    return [c.service_at_finish - float(ideal[c.application_id].at) for c in run.completions]


def table(reports: Sequence[PolicyMeasures]) -> str:
    head = ["policy", "mean JCT", "P90", "P99", "all done", "later than vtc", "worst to vtc", "preempted", "steps"]
    rows = [
        [
            r.policy,
            f"{r.mean_jct_s:.1f} s",
            f"{r.p90_jct_s:.1f} s",
            f"{r.p99_jct_s:.1f} s",
            f"{r.makespan_s:.1f} s",
            "–" if r.share_later_than_vtc is None else f"{r.share_later_than_vtc:.0%}",
            "–" if r.worst_ratio_to_vtc is None else f"{r.worst_ratio_to_vtc:.1f}x",
            str(r.preemptions),
            str(r.engine_steps),
        ]
        for r in reports
    ]
    return aligned([head, *rows], left=(0,))
