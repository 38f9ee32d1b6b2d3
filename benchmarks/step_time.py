"""How long a step of the tiny CPU engine takes, and the preset `cpu-tiny` that is fitted to it.

    python -m benchmarks.step_time            writes benchmarks/results/step_time.json

A real vLLM with its model in this process, as `justitia engine tiny` sets it up. Requests of many sizes and numbers are
run; for every step its time, the tokens computed in it and the KV tokens read; then t = base + a · tokens + b · KV
tokens by least squares of the relative errors, so that the many short steps count like the few long ones.
"""

import argparse
import json
import os
import random
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from gateway.demo.surroundings import StolenTime, machine, versions
from gateway.tiny_model import ensure_tiny_model

RESULT = Path(__file__).parent / "results" / "step_time.json"
SIZES = ((1, 64), (1, 900), (4, 200), (8, 100), (8, 700), (16, 300), (32, 100), (32, 600), (64, 200))
"""(requests side by side, prompt tokens of each); each answers 40."""
OUTPUT_TOKENS = 40
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULT)
    output = parser.parse_args().output
    steps, stolen = measured()
    fit = fitted(steps)
    report = {"machine": machine(), "versions": versions(), "stolen_share": stolen, **fit, "steps": steps}
    head = json.dumps({key: value for key, value in report.items() if key != "steps"}, indent=1)[:-2]
    output.write_text(head + ',\n "steps": ' + json.dumps(steps, separators=(",", ":")) + "\n}\n")
    print(json.dumps(fit, indent=1))


def measured() -> tuple[list[list[float]], float | None]:
    """(tokens computed, KV tokens read, seconds) of every step, and the share of CPU time that others took."""
    os.environ |= {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
    }
    from vllm import EngineArgs, LLMEngine, SamplingParams

    engine = LLMEngine.from_engine_args(
        EngineArgs(
            model=str(ensure_tiny_model()),
            load_format="dummy",
            enforce_eager=True,
            block_size=32,
            max_model_len=2048,
            max_num_seqs=64,
            enable_prefix_caching=False,
            scheduling_policy="priority",
        )
    )
    scheduler = engine.engine_core.engine_core.scheduler
    schedule, work = scheduler.schedule, []

    def noted(*args: Any, **kwargs: Any) -> Any:
        decided = schedule(*args, **kwargs)
        held = sum(scheduler.requests[name].num_computed_tokens for name in decided.num_scheduled_tokens)
        work.append((decided.total_num_scheduled_tokens, held))
        return decided

    scheduler.schedule = noted
    draw, steps, names = random.Random(1), [], 0
    sampling = SamplingParams(max_tokens=OUTPUT_TOKENS, ignore_eos=True)
    stolen = StolenTime()
    for number in range(1 + ROUNDS):
        for count, prompt_tokens in SIZES:
            for _ in range(count):
                prompt = {"prompt_token_ids": [draw.randrange(10, 2000) for _ in range(prompt_tokens)]}
                engine.add_request(f"r{names}", prompt, sampling)
                names += 1
            while engine.has_unfinished_requests():
                before, began = len(work), time.perf_counter()
                engine.step()
                elapsed_s = time.perf_counter() - began
                if number and len(work) == before + 1 and work[-1][0]:  # the first round warms up
                    steps.append([*work[-1], round(elapsed_s, 6)])
    return steps, stolen.share()


def fitted(steps: list[list[float]]) -> dict[str, Any]:
    table = np.array(steps)
    seconds = table[:, 2]
    causes = np.column_stack([np.ones(len(table)), table[:, 0], table[:, 1]])
    found, *_ = np.linalg.lstsq(causes / seconds[:, None], np.ones(len(table)), rcond=None)
    errors = np.abs(causes @ found / seconds - 1)
    return {
        "base_s": float(f"{found[0]:.3g}"),
        "per_token_s": float(f"{found[1]:.3g}"),
        "per_kv_token_s": float(f"{found[2]:.3g}"),
        "num_steps": len(steps),
        "median_relative_error": round(statistics.median(errors), 3),
        "p90_relative_error": round(float(np.quantile(errors, 0.9)), 3),
    }


if __name__ == "__main__":
    main()
