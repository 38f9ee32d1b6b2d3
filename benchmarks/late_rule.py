"""Which finish time for an application that has had more than was predicted? The candidates, side by side.

Each rule answers the cost that F = S + cost / weight goes by, from the predicted cost and the service attained (charged
when calls end). Five workloads of 300 applications; predictions exact, noisy, wrong by a factor for the eight largest,
and the mean of the kind. Mean completion times are relative to exact predictions with frozen tags on the same workload.

    python -m benchmarks.late_rule            writes benchmarks/results/late_rule.json
"""

import argparse
import json
import multiprocessing
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.predictions import PREDICTIONS
from benchmarks.study import STEP
from benchmarks.workloads import Recipe, as_possible, drawn
from gateway.fairness.units import KvTokenTime
from gateway.replay import costs
from gateway.replay.measures import measures
from gateway.replay.model import LateRule, Run
from gateway.replay.scenario import EngineShape, Scenario

RESULT = Path(__file__).parent / "results" / "late_rule.json"


def frozen(predicted_cost: KvTokenTime, service: KvTokenTime) -> KvTokenTime:
    """As if predictions were never too small."""
    return predicted_cost


def doubled(predicted_cost: KvTokenTime, service: KvTokenTime) -> KvTokenTime:
    """The prediction, doubled until it is not below what was attained."""
    cost = max(predicted_cost, 1.0)
    while cost < service:
        cost *= 2
    return KvTokenTime(cost)


def attained(slack: float, factor: float = 1.0) -> LateRule:
    """What was attained, times `factor`, from the moment on that it is above the prediction by the share `slack`."""

    def rule(predicted_cost: KvTokenTime, service: KvTokenTime) -> KvTokenTime:
        return KvTokenTime(factor * service) if service > (1 + slack) * predicted_cost else predicted_cost

    return rule


RULES: dict[str, LateRule] = {
    "frozen": frozen,
    "doubled": doubled,
    "attained": attained(0.0),
    "attained, slack 0.5": attained(0.5),
    "attained, slack 1": attained(1.0),
    "attained x 1.5, slack 0.5": attained(0.5, 1.5),
}

WRONG_IN = ("exact", "noise 30 %", "8 largest / 100", "noise 30 %, 8 largest / 100", "kind mean")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    # New processes and not forks: vLLM's threads do not survive one.
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        by_seed = pool.map(study, range(options.seeds), chunksize=1)
    rows = [row for rows in by_seed for row in rows]
    summary = summarized(rows)
    options.output.write_text(json.dumps({"summary": summary, "runs": rows}, indent=1) + "\n")
    for line in summary:
        print(json.dumps(line))


def study(seed: int) -> list[dict[str, Any]]:
    workload, recorded = drawn(as_possible(Recipe("suite")), seed)
    scenario = Scenario(workload, EngineShape(), STEP)
    exact = costs.oracle(workload.applications)
    vtc = scenario.run("vtc", exact)
    rows = [row("vtc", "exact", seed, vtc, vtc), row("srjf", "exact", seed, scenario.run("srjf", exact), vtc)]
    for prediction in WRONG_IN:
        predictions = PREDICTIONS[prediction](workload.applications, recorded, seed)
        for rule, late_rule in RULES.items():
            run = scenario.run("justitia", predictions, late_rule=late_rule)
            rows.append(row(rule, prediction, seed, run, vtc))
    return rows


def row(rule: str, prediction: str, seed: int, run: Run, vtc: Run) -> dict[str, Any]:
    return {"rule": rule, "prediction": prediction, "seed": seed, **measures(run, vtc).as_dict()}


def summarized(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Over the seeds, each relative to frozen tags and exact predictions of its own seed."""
    base = {r["seed"]: r["mean_jct_s"] for r in rows if (r["rule"], r["prediction"]) == ("frozen", "exact")}
    summary = []
    for rule, prediction in dict.fromkeys((r["rule"], r["prediction"]) for r in rows):
        chosen = [r for r in rows if (r["rule"], r["prediction"]) == (rule, prediction)]
        ratios = [r["mean_jct_s"] / base[r["seed"]] for r in chosen]
        summary.append(
            {
                "rule": rule,
                "prediction": prediction,
                "seeds": len(chosen),
                "mean_jct_s": round(fmean(r["mean_jct_s"] for r in chosen), 2),
                "relative_mean_jct": round(fmean(ratios), 3),
                "relative_sd": round(stdev(ratios), 3) if len(ratios) > 1 else None,
                "relative_to_vtc": round(
                    fmean(r["mean_jct_s"] / v["mean_jct_s"] for r, v in zip(chosen, _vtc(rows), strict=True)), 3
                ),
                "share_later_than_vtc": round(fmean(r["share_later_than_vtc"] for r in chosen), 3),
                "worst_ratio_to_vtc": max(r["worst_ratio_to_vtc"] for r in chosen),
            }
        )
    return summary


def _vtc(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["rule"] == "vtc"]


if __name__ == "__main__":
    main()
