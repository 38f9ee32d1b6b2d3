"""How fast the simulator is, beside the part of it that is vLLM's.

    python -m benchmarks.simulator_speed            writes benchmarks/results/simulator_speed.json

Side by side, in rounds: steps a second of vLLM's scheduler alone with 8 requests running, of the same with our hooks,
and of a whole simulation of 300 applications of the suite in which at most 8 calls run. Then 1,000 applications with
256 sequences, once, as anybody would run them.
"""

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.study import STEP
from benchmarks.workloads import Recipe, as_possible, drawn
from engine_patch.simulated import load_config
from engine_patch.toy import step, toy_request, toy_scheduler
from gateway.demo.surroundings import StolenTime, machine, versions
from gateway.replay.costs import oracle
from gateway.replay.scenario import EngineShape, Scenario
from gateway.tiny_model import ensure_tiny_model

RESULT = Path(__file__).parent / "results" / "simulator_speed.json"
ROUNDS = 5
RUNNING = 8
SUITE = Recipe("suite")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULT)
    output = parser.parse_args().output
    stolen = StolenTime()
    rounds = [one_round() for _ in range(ROUNDS)]
    report = {
        "machine": machine(),
        "versions": versions(),
        "steps_per_s": {name: round(statistics.median(row[name] for row in rounds)) for name in rounds[0]},
        "rounds": rounds,
        "thousand_applications": a_thousand(),
        "stolen_share": stolen.share(),
    }
    output.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


def one_round() -> dict[str, int]:
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler

    from engine_patch.scheduler import JustitiaScheduler

    class Patched(JustitiaScheduler):
        is_toy = True

    return {
        "vllm_scheduler": scheduler_alone(AsyncScheduler),
        "with_hooks": scheduler_alone(Patched),
        "simulation": simulated(),
    }


def scheduler_alone(scheduler_class: Any) -> int:
    scheduler = toy_scheduler(
        scheduler_class,
        *load_config(str(ensure_tiny_model())),
        num_blocks=1000,
        block_size=16,
        max_num_seqs=RUNNING,
        token_budget=2048,
        has_prefix_caching=False,
    )
    for number in range(RUNNING):
        priority = 0 if scheduler_class.__name__ == "AsyncScheduler" else 1
        scheduler.add_request(
            toy_request(f"c{number}", range(1000, 1100), 1500, priority=priority, session_id="a", block_size=None)
        )
    began, num_steps = time.perf_counter(), 0
    while scheduler.has_unfinished_requests():
        step(scheduler)
        num_steps += 1
    return round(num_steps / (time.perf_counter() - began))


def simulated() -> int:
    workload, _ = drawn(as_possible(SUITE), 0)
    scenario = Scenario(workload, EngineShape(max_num_seqs=RUNNING), STEP)
    costs = oracle(workload.applications)
    began = time.perf_counter()
    num_steps = scenario.run("justitia", costs).num_steps
    return round(num_steps / (time.perf_counter() - began))


def a_thousand() -> dict[str, float]:
    recipe = replace(SUITE, count=1000, window_s=400.0)
    began = time.perf_counter()
    workload, _ = drawn(as_possible(recipe), 0)
    run = Scenario(workload, EngineShape(), STEP).run("justitia", oracle(workload.applications))
    elapsed_s = time.perf_counter() - began
    return {"elapsed_s": round(elapsed_s, 1), "engine_steps": run.num_steps, "simulated_s": round(run.makespan_s, 1)}


if __name__ == "__main__":
    main()
