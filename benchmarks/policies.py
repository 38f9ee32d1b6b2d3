"""Every policy on the suite without doc_merge: five workloads of 300 applications on 459 blocks of 16.

True costs for all; and for justitia also the mean of the kind, and p + 2d in the place of KV token-time. Every
comparison is within one workload: intervals are over the seeds' ratios.

    python benchmarks/policies.py            writes benchmarks/results/policies.json
"""

import argparse
import json
import multiprocessing
import time
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.simulate import BLOCK_SIZE, simulate
from benchmarks.workloads import suite
from gateway.demo.surroundings import machine, versions
from gateway.fairness.policies import PolicyName
from gateway.replay import costs
from gateway.replay.measures import measures

RESULT = Path(__file__).parent / "results" / "policies.json"
KV_BLOCKS = 459
RUNS: tuple[tuple[str, PolicyName, costs.CostModel], ...] = (
    ("vtc", "vtc", "oracle"),
    ("fcfs", "fcfs", "oracle"),
    ("app-fcfs", "app-fcfs", "oracle"),
    ("sjf", "sjf", "oracle"),
    ("las", "las", "oracle"),
    ("srjf", "srjf", "oracle"),
    ("justitia", "justitia", "oracle"),
    ("justitia, kind mean", "justitia", "kind-mean"),
    ("justitia, p + 2d", "justitia", "tokens"),
)
T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
"""Student's t for a two-sided 95 % interval, by number of seeds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, choices=tuple(T_95))
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    # New processes and not forks: vLLM's threads do not survive one.
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        rows = [row for rows in pool.map(study, range(options.seeds), chunksize=1) for row in rows]
    report = {
        "machine": machine(),
        "versions": versions(),
        "kv_tokens": KV_BLOCKS * BLOCK_SIZE,
        "summary": summarized(rows, options.seeds),
        "runs": rows,
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    for line in report["summary"]:
        print(json.dumps(line))


def study(seed: int) -> list[dict[str, Any]]:
    workload, recorded = suite(seed)
    rows, vtc = [], None
    for name, policy, cost_model in RUNS:
        predicted = costs.PREDICTORS[cost_model](workload.applications, recorded)
        began = time.perf_counter()
        run = simulate(workload, policy, predicted, kv_blocks=KV_BLOCKS)
        elapsed_s = time.perf_counter() - began
        vtc = vtc or run
        longest = max(call.completion_tokens for application in workload.applications for call in application.calls)
        rows.append(
            {
                "run": name,
                "seed": seed,
                **measures(run, vtc).as_dict(),
                "bound_of_single_stages": 2 * KV_BLOCKS * BLOCK_SIZE * longest,
                "steps_per_s": round(run.num_steps / elapsed_s),
            }
        )
    return rows


def summarized(rows: list[dict[str, Any]], num_seeds: int) -> list[dict[str, Any]]:
    vtc = {row["seed"]: row["mean_jct_s"] for row in rows if row["run"] == "vtc"}
    summary = []
    for name, _, _ in RUNS:
        chosen = [row for row in rows if row["run"] == name]
        ratios = [row["mean_jct_s"] / vtc[row["seed"]] for row in chosen]
        summary.append(
            {
                "run": name,
                "mean_jct_s": round(fmean(row["mean_jct_s"] for row in chosen), 2),
                "p90_jct_s": round(fmean(row["p90_jct_s"] for row in chosen), 2),
                "relative_to_vtc": round(fmean(ratios), 4),
                "relative_to_vtc_interval_95": round(T_95[num_seeds] * stdev(ratios) / num_seeds**0.5, 4),
                "share_later_than_vtc": round(fmean(row["share_later_than_vtc"] for row in chosen), 4),
                "worst_ratio_to_vtc": max(row["worst_ratio_to_vtc"] for row in chosen),
                "worst_lateness_to_gps": max(row["worst_lateness_to_gps"] for row in chosen),
            }
        )
    return summary


if __name__ == "__main__":
    main()
