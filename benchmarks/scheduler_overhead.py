"""What the patch costs per scheduling: vLLM's AsyncScheduler with and without our hooks, side by side.

Both are vLLM's real scheduler and KV manager with the same requests, driven without a model: 256 running, 1,000
waiting, priority policy, prefix caching on. Requests end and are replaced all the time, so admission, block allocation,
shared prefixes and the records of finished requests are all in the measured steps. Rounds alternate between the two in
one process, so that a slow minute of the machine falls on both. Every step is timed by itself, in CPU time of the
thread, which takes no account of when others run: neither scheduler waits for anything.

    python benchmarks/scheduler_overhead.py            writes benchmarks/results/scheduler_overhead.json

`schedule` is the call that sits between two steps of the model; `step` adds vLLM's handling of the model's answer, in
which requests end. `state` (nothing new, or a full reply of finished records) and `rerank` (all live requests) are what
the gateway calls.
"""

import argparse
import gc
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import vllm
from vllm.engine.arg_utils import EngineArgs
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.structured_output import StructuredOutputManager

from engine_patch import toy
from engine_patch.records import MAX_RECORDS_PER_REPLY, FinishedRecord
from engine_patch.scheduler import JustitiaScheduler
from gateway.tiny_model import ensure_tiny_model

BLOCK_SIZE = 16
NUM_BLOCKS = 16_384
NUM_RUNNING = 256
NUM_WAITING = 1000
NUM_APPLICATIONS = 100
RESULT = Path(__file__).parent / "results" / "scheduler_overhead.json"


class ToyJustitia(JustitiaScheduler):
    is_toy = True


def main() -> None:
    parser = argparse.ArgumentParser(description="schedule() with our hooks against vLLM's own, side by side")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300, help="steps timed per round and scheduler")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()

    model = ensure_tiny_model()
    config = EngineArgs(
        model=str(model), load_format="dummy", scheduling_policy="priority", max_model_len=4096
    ).create_engine_config()
    output_manager = StructuredOutputManager(config)

    def build(scheduler_class: type[AsyncScheduler]) -> "Bench":
        scheduler = toy.toy_scheduler(
            scheduler_class,
            config,
            output_manager,
            num_blocks=NUM_BLOCKS,
            block_size=BLOCK_SIZE,
            max_num_seqs=NUM_RUNNING,
            token_budget=8192,
        )
        return Bench(scheduler)

    stock, ours = build(AsyncScheduler), build(ToyJustitia)
    for bench in (stock, ours):
        bench.warm_up()
    for _ in range(options.rounds):
        for bench in (stock, ours):
            gc.collect()
            bench.measure(options.steps)
    result = {
        "vllm": vllm.__version__,
        "python": platform.python_version(),
        "num_cpus": os.cpu_count(),
        "num_running": NUM_RUNNING,
        "num_waiting": NUM_WAITING,
        "block_size": BLOCK_SIZE,
        "steps_per_scheduler": options.rounds * options.steps,
        "finished_requests": ours.num_finished,
        "unit": "ms of CPU time",
        "schedule": compare(stock.schedule_ms, ours.schedule_ms),
        "step": compare(stock.step_ms, ours.step_ms),
        "state_nothing_new": {"median": median_ms(ours.read_nothing_new, 20)},
        "state_full_reply": {"median": median_ms(ours.read_full_reply, 20)},
        "rerank": {"median": median_ms(ours.rerank_everything, 20)},
    }
    text = json.dumps(result, indent=2) + "\n"
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(text)
    print(text, end="")


class Bench:
    """One scheduler, kept at its load."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self.schedule_ms: list[float] = []
        self.step_ms: list[float] = []
        self.num_finished = 0
        self._requests = self._make_requests()
        self._draw = random.Random(1)

    def _make_requests(self) -> Iterator[Any]:
        # The same for both schedulers: applications share 64 tokens of prompt among their calls.
        draw = random.Random(0)
        for number in count():
            application = draw.randrange(NUM_APPLICATIONS)
            prompt = [application + 10] * 64 + [draw.randrange(2000) for _ in range(draw.randrange(64, 512))]
            yield toy.toy_request(
                f"chatcmpl-call-{number:032x}-00000000",
                prompt,
                max_tokens=draw.randrange(50, 350),
                priority=draw.randrange(2**62),
                session_id=f"tenant/application-{application}",
                arrival_time=float(number),
                block_size=BLOCK_SIZE,
            )

    def _refill(self) -> None:
        while len(self.scheduler.requests) < NUM_RUNNING + NUM_WAITING:
            self.scheduler.add_request(next(self._requests))

    def warm_up(self) -> None:
        """Until all slots run and requests end as often as they begin."""
        for _ in range(400):
            self._refill()
            toy.step(self.scheduler)

    def measure(self, num_steps: int) -> None:
        for _ in range(num_steps):
            self._refill()
            num_before = len(self.scheduler.requests)
            began = time.thread_time()
            output = self.scheduler.schedule()
            scheduled = time.thread_time()
            toy.finish_step(self.scheduler, output)
            ended = time.thread_time()
            self.schedule_ms.append((scheduled - began) * 1e3)
            self.step_ms.append((ended - began) * 1e3)
            self.num_finished += num_before - len(self.scheduler.requests)

    def read_nothing_new(self) -> None:
        self.scheduler.justitia.state(self.scheduler.justitia.finished_ring.end)

    def read_full_reply(self) -> None:
        ring = self.scheduler.justitia.finished_ring
        while ring.end < MAX_RECORDS_PER_REPLY:
            ring.append(FinishedRecord(ring.end, "call-" + "0" * 32, "tenant/application", 1.0, 1, 1, 1, 0, "stop"))
        self.scheduler.justitia.state(0)

    def rerank_everything(self) -> None:
        ranks = {f"tenant/application-{number}": self._draw.randrange(2**62) for number in range(NUM_APPLICATIONS)}
        self.scheduler.justitia.rerank(ranks)


def compare(stock: list[float], ours: list[float]) -> dict[str, Any]:
    stock_summary, ours_summary = summary(stock), summary(ours)
    return {
        "stock": stock_summary,
        "justitia": ours_summary,
        "added_median": round(ours_summary["median"] - stock_summary["median"], 4),
        "ratio_of_medians": round(ours_summary["median"] / stock_summary["median"], 3),
        "ratio_of_means": round(ours_summary["mean"] / stock_summary["mean"], 3),
    }


def summary(times_ms: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(times_ms), 4),
        "mean": round(statistics.fmean(times_ms), 4),
        "p99": round(statistics.quantiles(times_ms, n=100)[98], 4),
    }


def median_ms(action: Callable[[], object], repetitions: int) -> float:
    times = []
    for _ in range(repetitions):
        began = time.thread_time()
        action()
        times.append((time.thread_time() - began) * 1e3)
    return round(statistics.median(times), 4)


if __name__ == "__main__":
    main()
