"""How long the HTTP server of a CPU engine is silent under load, by where vLLM's worker lives.

vLLM's own choice for CPUs is a worker process, to which the scheduler's process talks through shared memory, spinning.
`justitia engine tiny` puts the worker into the scheduler's process. Rounds alternate between the two; in each, fresh
engines are loaded with the same calls while `/health`, which does no work, and `/justitia/state` are asked over and
over.

    python benchmarks/engine_stalls.py            writes benchmarks/results/engine_stalls.json
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import tempfile
import time
from pathlib import Path

import httpx

from gateway.demo.surroundings import StolenTime, machine, versions
from tests.fakes.running_engine import SMALL, RunningEngine

RESULT = Path(__file__).parent / "results" / "engine_stalls.json"
EXECUTORS = {"one process": (), "worker process": ("--distributed-executor-backend", "mp")}
NUM_CALLS = 48
NUM_TOKENS = 300
PAUSE_S = 0.03


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    rows = []
    for number in range(options.rounds):
        for executor, flags in EXECUTORS.items():
            stolen = StolenTime()
            with tempfile.TemporaryDirectory() as folder:
                engine = RunningEngine(Path(folder), *SMALL, *flags)
                try:
                    row = {"round": number, "executor": executor, **asyncio.run(measure(engine.ready()))}
                finally:
                    engine.stop()
            rows.append({**row, "stolen_share": stolen.share()})
            print(json.dumps(rows[-1]), flush=True)
    setting = {"machine": machine(), "versions": versions(), "calls": NUM_CALLS, "tokens": NUM_TOKENS}
    options.output.write_text(json.dumps({**setting, "rows": rows}, indent=2) + "\n")


async def measure(engine: RunningEngine) -> dict[str, object]:
    async with engine.client() as client:
        await complete(client)  # whatever is made at the first call
        paths = ("/health", "/justitia/state")
        latencies: dict[str, list[float]] = {path: [] for path in paths}
        probes = [asyncio.create_task(probe(client, path, latencies[path])) for path in paths]
        began = time.perf_counter()
        await asyncio.gather(*(complete(client) for _ in range(NUM_CALLS)))
        elapsed = time.perf_counter() - began
        for task in probes:
            task.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
    return {"tokens_per_s": round(NUM_CALLS * NUM_TOKENS / elapsed, 1)} | {
        path: {"median_ms": round(statistics.median(times) * 1e3, 1), "longest_ms": round(max(times) * 1e3, 1)}
        for path, times in latencies.items()
    }


async def complete(client: httpx.AsyncClient) -> None:
    body = {"model": "tiny", "prompt": "word " * 30, "max_tokens": NUM_TOKENS, "ignore_eos": True}
    response = await client.post("/v1/completions", json=body)
    response.raise_for_status()


async def probe(client: httpx.AsyncClient, path: str, times: list[float]) -> None:
    while True:
        began = time.perf_counter()
        # After too long a silence the server's own keep-alive timer closes the connection under our request.
        with contextlib.suppress(httpx.RemoteProtocolError):
            (await client.get(path)).raise_for_status()
        times.append(time.perf_counter() - began)
        await asyncio.sleep(PAUSE_S)


if __name__ == "__main__":
    main()
