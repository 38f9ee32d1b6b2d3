"""What a study is, and how it is run: cases, each a workload on an engine, and the same variants on every seed of it.

Within a case and seed all variants have the same work, and are compared there; intervals are over the seeds' ratios.
"""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from benchmarks.predictions import PREDICTIONS, REFINING
from benchmarks.workloads import Recipe, as_possible, drawn, have_recordings
from gateway.demo.surroundings import StolenTime, machine, versions
from gateway.fairness.policies import PolicyName
from gateway.fairness.shares import SharesName
from gateway.replay.costs import oracle
from gateway.replay.measures import measures
from gateway.replay.model import Charging, Run, as_measured
from gateway.replay.records import record_of, spread_by
from gateway.replay.scenario import EngineShape, Scenario
from gateway.replay.step_time import StepTime
from gateway.scheduling.course import WORTH_REVISING
from gateway.workloads.workload import Workload

STEP = StepTime(base_s=0.025, per_token_s=30e-6, per_kv_token_s=0.0)
"""The step of all studies, 25 ms and 30 µs a token: a 7B model on a 40-GB A100, attention's reading left out."""

AS_HELD = "as held"
"""A prediction besides those of `PREDICTIONS`: what the application held in this case's first variant."""

_MOMENTS_EVERY_S = 4.0
_FOLLOWED = 12


@dataclass(frozen=True, slots=True)
class Variant:
    label: str
    policy: PolicyName
    prediction: str = "exact"
    charging: Charging = as_measured
    shares: SharesName = "application"
    passing_iterations: int = 0
    """For how long calls may go past one that does not fit (`engine_patch.passing`)."""


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    recipe: Recipe
    shape: EngineShape = field(default_factory=EngineShape)


@dataclass(frozen=True, slots=True)
class Study:
    """The first variant is what the others are compared with; where it is `vtc`, lateness too."""

    name: str
    question: str
    cases: tuple[Case, ...]
    variants: tuple[Variant, ...]
    num_seeds: int = 5
    drawn_labels: tuple[str, ...] = ()
    """Variants whose every application is kept, for pictures; their first seed with its course over time."""
    notes: Callable[[Workload, Run], dict[str, float]] | None = None
    """More to keep of each run."""


def carried_out(study: Study) -> dict[str, Any]:
    """The study's report. Raises WorkloadError where a case cannot be."""
    stolen = StolenTime()
    jobs = [(study, case, seed) for case in study.cases for seed in range(study.num_seeds)]
    # New processes and not forks: vLLM's threads do not survive one.
    with multiprocessing.get_context("spawn").Pool(min(2, len(jobs))) as pool:
        rows = [row for rows in pool.starmap(_rows, jobs, chunksize=1) for row in rows]
    return {
        "study": study.name,
        "question": study.question,
        "machine": machine(),
        "versions": versions(),
        "stolen_share": stolen.share(),
        "has_recordings": have_recordings(),
        "step": asdict(STEP),
        "cases": [_described(case) for case in study.cases],
        "rows": rows,
    }


def _described(case: Case) -> dict[str, Any]:
    return {"name": case.name, "recipe": asdict(as_possible(case.recipe)), "engine": asdict(case.shape)}


def _rows(study: Study, case: Case, seed: int) -> list[dict[str, Any]]:
    workload, recorded = drawn(as_possible(case.recipe), seed)
    scenarios = {
        passing: Scenario(workload, replace(case.shape, passing_iterations=passing), STEP)
        for passing in {variant.passing_iterations for variant in study.variants}
    }
    fingerprint = workload.fingerprint
    followed = spread_by(oracle(workload.applications), _FOLLOWED)
    first: Run | None = None
    rows = []
    for variant in study.variants:
        is_drawn = variant.label in study.drawn_labels
        refine = None
        if variant.prediction == AS_HELD:
            assert first is not None
            predicted: Sequence[float] = [completion.service for completion in first.completions]
        elif variant.prediction in REFINING:
            known = REFINING[variant.prediction].known(tuple(recorded))
            said = [known[application] for application in workload.applications]
            predicted = [one.cost for one in said]
            refine = lambda number, progress, said=said: said[number].refined(progress)  # noqa: E731
        else:
            predicted = PREDICTIONS[variant.prediction](workload.applications, recorded, seed)
        began = time.perf_counter()
        run = scenarios[variant.passing_iterations].run(
            variant.policy,
            predicted,
            shares=variant.shares,
            charging=variant.charging,
            refine=refine,
            worth_revising=REFINING[variant.prediction].worth_revising if refine else WORTH_REVISING,
            moments_every_s=_MOMENTS_EVERY_S if is_drawn and seed == 0 else None,
        )
        elapsed_s = time.perf_counter() - began
        first = first or run
        row = {
            "case": case.name,
            "variant": variant.label,
            "prediction": variant.prediction,
            "seed": seed,
            "workload": fingerprint,
            **measures(run, first if first.policy == "vtc" else None).as_dict(),
            "elapsed_s": round(elapsed_s, 2),
        }
        if study.notes:
            row["notes"] = study.notes(workload, run)
        if is_drawn:
            row["record"] = record_of(run, variant.label, followed if seed == 0 else ()).as_dict()
        rows.append(row)
    return rows
