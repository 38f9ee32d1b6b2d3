"""What the runs showed: the numbers, their table, and everything raw for a file.

JCT: from an application's arrival to its last call's end. Means and percentiles are over all applications of all rounds
of a policy. P90 interpolates linearly between the two nearest ranks. An application that failed has no JCT and is in no
mean; it is counted, and makes the whole comparison void.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from gateway.demo.meter import EngineReading
from gateway.demo.replay import ApplicationRecord
from gateway.figures import aligned, percentile

BASELINE = "fcfs"
"""What ratios refer to; the first policy where it was not run."""

_FULL_KV_USAGE = 0.9


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One workload through one gateway, from the first arrival to the last call's end."""

    policy: str
    round_number: int
    applications: tuple[ApplicationRecord, ...]
    readings: tuple[EngineReading, ...]
    """The first from before the run, the last from after it, one each second between."""
    stolen_share: float | None = None
    """Of the cores' time, what the machine did not get meanwhile: see `surroundings.StolenTime`."""

    @property
    def makespan_s(self) -> float:
        return max((call.ended_s for application in self.applications for call in application.calls), default=0.0)

    @property
    def num_failed_calls(self) -> int:
        """Calls that failed, and those that were never made because of them."""
        return sum(application.num_calls - len(application.calls) for application in self.applications)

    @property
    def failures(self) -> list[str]:
        return [
            f"{application.app_id}: {failure}" for application in self.applications for failure in application.failures
        ]


@dataclass(frozen=True, slots=True)
class EngineUse:
    """What a run did to the engine."""

    kv_usage_mean: float
    kv_full_share: float
    """Of the readings: KV usage above 90 %."""
    running_mean: float
    """Calls inside the engine that hold memory."""
    unserved_mean: float
    """Calls made and not yet running, in the gateway's queue or the engine's."""
    preemptions: int
    steps: int
    prefix_hit_share: float
    """Of the prompt tokens looked up in the prefix cache."""

    @classmethod
    def of(cls, run: RunRecord) -> "EngineUse":
        first, *during, last = run.readings
        during = during or [last]
        in_flight_s = sum(call.ended_s - call.started_s for app in run.applications for call in app.calls)
        running_mean = fmean(reading.num_running for reading in during)
        queried = last.prefix_queried_tokens - first.prefix_queried_tokens
        hits = last.prefix_hit_tokens - first.prefix_hit_tokens
        return cls(
            kv_usage_mean=fmean(reading.kv_usage for reading in during),
            kv_full_share=fmean(reading.kv_usage > _FULL_KV_USAGE for reading in during),
            running_mean=running_mean,
            unserved_mean=max(0.0, in_flight_s / run.makespan_s - running_mean) if run.makespan_s else 0.0,
            preemptions=last.preemptions - first.preemptions,
            steps=last.steps - first.steps,
            prefix_hit_share=hits / queried if queried else 0.0,
        )


@dataclass(frozen=True, slots=True)
class JctSummary:
    """Of one policy and one kind, or of all kinds (`kind` None)."""

    policy: str
    kind: str | None
    num_applications: int
    """With a JCT, over all rounds."""
    mean_s: float
    p90_s: float
    ratio: float
    """Of the means: this policy's to the baseline's."""


def policies_of(runs: Sequence[RunRecord]) -> list[str]:
    """In the order in which they first ran."""
    return list(dict.fromkeys(run.policy for run in runs))


def kinds_of(runs: Sequence[RunRecord]) -> list[str]:
    """By the mean cost of their applications, small ones first."""
    costs: dict[str, list[float]] = {}
    for application in runs[0].applications:
        costs.setdefault(application.kind, []).append(application.cost)
    return sorted(costs, key=lambda kind: fmean(costs[kind]))


def jct_summaries(runs: Sequence[RunRecord]) -> list[JctSummary]:
    """All kinds together first, then each kind; policies in their order."""
    policies = policies_of(runs)
    baseline = BASELINE if BASELINE in policies else policies[0]
    kinds: list[str | None] = [None, *kinds_of(runs)]
    summaries = []
    for kind in kinds:
        jcts = {policy: _jcts(runs, policy, kind) for policy in policies}
        means = {policy: fmean(values) if values else math.nan for policy, values in jcts.items()}
        summaries += [
            JctSummary(
                policy,
                kind,
                len(jcts[policy]),
                means[policy],
                percentile(jcts[policy], 0.9),
                means[policy] / means[baseline],
            )
            for policy in policies
        ]
    return summaries


def _jcts(runs: Sequence[RunRecord], policy: str, kind: str | None) -> list[float]:
    return [
        application.jct_s
        for run in runs
        if run.policy == policy
        for application in run.applications
        if application.jct_s is not None and kind in (None, application.kind)
    ]


def table(runs: Sequence[RunRecord]) -> str:
    """Completion times, then what the engine did, each a block of aligned columns."""
    jct_rows = [["", "n", "policy", "mean JCT", "P90 JCT", f"mean vs {_baseline_name(runs)}"]]
    shown = None
    for summary in jct_summaries(runs):
        name = summary.kind or "all"
        is_new = name != shown
        shown = name
        jct_rows.append(
            [
                name if is_new else "",
                str(summary.num_applications) if is_new else "",
                summary.policy,
                f"{summary.mean_s:.1f} s",
                f"{summary.p90_s:.1f} s",
                f"{summary.ratio:.2f}",
            ]
        )
    engine_rows = [
        ["policy", "makespan", "calls", "failed", "KV mean", "KV > 90 %", "not served", "preempted", "steps"]
    ]
    engine_rows += [_engine_row(policy, [run for run in runs if run.policy == policy]) for policy in policies_of(runs)]
    return f"{aligned(jct_rows, left=(0, 2))}\n\n{aligned(engine_rows, left=(0,))}"


def _baseline_name(runs: Sequence[RunRecord]) -> str:
    policies = policies_of(runs)
    return BASELINE if BASELINE in policies else policies[0]


def _engine_row(policy: str, runs: Sequence[RunRecord]) -> list[str]:
    uses = [EngineUse.of(run) for run in runs]
    return [
        policy,
        f"{fmean(run.makespan_s for run in runs):.1f} s",
        str(sum(len(application.calls) for run in runs for application in run.applications)),
        str(sum(run.num_failed_calls for run in runs)),
        f"{fmean(use.kv_usage_mean for use in uses):.0%}",
        f"{fmean(use.kv_full_share for use in uses):.0%} of time",
        f"{fmean(use.unserved_mean for use in uses):.1f} calls",
        str(sum(use.preemptions for use in uses)),
        f"{fmean(use.steps for use in uses):.0f}",
    ]


def raw(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """Everything measured, for JSON; numbers unrounded but for milliseconds of time."""
    return {
        "summary": [
            {
                "policy": summary.policy,
                "kind": summary.kind,
                "applications": summary.num_applications,
                "mean_jct_s": _number(summary.mean_s),
                "p90_jct_s": _number(summary.p90_s),
                "mean_ratio": _number(summary.ratio),
            }
            for summary in jct_summaries(runs)
        ],
        "runs": [_raw_run(run) for run in runs],
    }


def _raw_run(run: RunRecord) -> dict[str, Any]:
    use = EngineUse.of(run)
    return {
        "policy": run.policy,
        "round": run.round_number,
        "makespan_s": round(run.makespan_s, 3),
        "stolen_share": run.stolen_share,
        "failed_calls": run.num_failed_calls,
        "failures": run.failures,
        "engine": {
            "kv_usage_mean": round(use.kv_usage_mean, 4),
            "kv_full_share": round(use.kv_full_share, 4),
            "running_mean": round(use.running_mean, 2),
            "unserved_mean": round(use.unserved_mean, 2),
            "preemptions": use.preemptions,
            "steps": use.steps,
            "prefix_hit_share": round(use.prefix_hit_share, 4),
            "kv_usage_each_s": [round(reading.kv_usage, 3) for reading in run.readings[1:-1]],
        },
        "applications": [
            {
                "id": application.app_id,
                "kind": application.kind,
                "arrival_s": round(application.arrival_s, 3),
                "jct_s": None if application.jct_s is None else round(application.jct_s, 3),
                "calls": len(application.calls),
                "cost": application.cost,
                "prompt_tokens": sum(call.prompt_tokens for call in application.calls),
                "output_tokens": sum(call.output_tokens for call in application.calls),
            }
            for application in run.applications
        ],
    }


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None
