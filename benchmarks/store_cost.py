"""What the state store costs: one arrival and one service report, with 10² to 10⁵ applications backlogged.

    python benchmarks/store_cost.py [--redis URL] [--json benchmarks/results/store_cost.json]

Without --redis it starts a redis-server of its own on a unix socket. `arrive_serve_us` is what a caller waits for the
two operations, one after the other, nothing else under way; `concurrent_us` is the time per such pair with 64 callers;
`redis_us` is what the server itself spent on an operation. Costs are chosen so that nobody departs while it measures.
Each with a share for every application, and with a share for each of a hundred tenants, whose applications are as many.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from redis.asyncio import Redis

from gateway.demo.surroundings import StolenTime, machine, versions
from gateway.fairness.shares import SHARES_NAMES, SharesName
from gateway.fairness.units import ApplicationId, KvTokenTime, Weight
from gateway.ports import Arrival, StateStore
from gateway.stores.memory import MemoryStore
from gateway.stores.redis import RedisStore

BACKLOGS = (100, 1_000, 10_000, 100_000)
NUM_PAIRS = 500
NUM_CALLERS = 64
NUM_TENANTS = 100
NOW = 1_700_000_000.0

Row = dict[str, float | int | str | None]


async def fill(store: StateStore, first: int, last: int) -> None:
    """Applications number `first` to `last`, each with a finish time of its own."""
    for start in range(first, last, NUM_CALLERS):
        numbers = range(start, min(start + NUM_CALLERS, last))
        await asyncio.gather(*(store.arrive(arrival(f"backlog {number}", number), NOW) for number in numbers))


def arrival(name: str, number: int) -> Arrival:
    cost = KvTokenTime(1e9 + 1e3 * (number * 7919 % 100_003))
    return Arrival(ApplicationId(name), f"tenant-{number % NUM_TENANTS}", "agent", cost, Weight(1000))


async def pair(store: StateStore, name: str, number: int) -> None:
    await store.arrive(arrival(name, number), NOW)
    await store.serve(KvTokenTime(1.0))


async def measure(store: StateStore, backlog: int) -> Row:
    waits = []
    for number in range(NUM_PAIRS):
        started = time.perf_counter()
        await pair(store, f"one {backlog} {number}", number)
        waits.append((time.perf_counter() - started) * 1e6)
    started = time.perf_counter()
    for number in range(0, NUM_PAIRS, NUM_CALLERS):
        await asyncio.gather(*(pair(store, f"many {backlog} {number + n}", n) for n in range(NUM_CALLERS)))
    rounds = -(-NUM_PAIRS // NUM_CALLERS)
    concurrent = (time.perf_counter() - started) * 1e6 / (rounds * NUM_CALLERS)
    waits.sort()
    return {
        "backlogged": backlog,
        "arrive_serve_us": round(statistics.median(waits), 1),
        "arrive_serve_p99_us": round(waits[len(waits) * 99 // 100], 1),
        "concurrent_us": round(concurrent, 1),
    }


async def measure_memory(shares: SharesName) -> list[Row]:
    store, rows, filled = MemoryStore(shares), [], 0
    for backlog in BACKLOGS:
        await fill(store, filled, backlog)
        filled = backlog
        rows.append({"store": "memory", "shares": shares, **await measure(store, backlog)})
    return rows


async def measure_redis(url: str, shares: SharesName) -> tuple[list[Row], str]:
    store, rows, filled = RedisStore(url, prefix="{justitia:benchmark}", timeout_s=30, shares=shares), [], 0
    async with Redis.from_url(url, decode_responses=True) as server:
        for backlog in BACKLOGS:
            await fill(store, filled, backlog)
            filled = backlog
            await server.config_resetstat()
            row = await measure(store, backlog)
            spent = (await server.info("commandstats"))["cmdstat_evalsha"]["usec_per_call"]
            rows.append({"store": "redis", "shares": shares, **row, "redis_us": spent})
        version = (await server.info("server"))["redis_version"]
    await store.wipe()
    await store.aclose()
    return rows, str(version)


@contextlib.contextmanager
def redis_of_our_own() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        options = ("--port", "0", "--unixsocket", f"{folder}/redis.sock", "--save", "", "--appendonly", "no")
        process = subprocess.Popen(["redis-server", *options], cwd=folder, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            if "eady to accept connections" in line:
                break
        try:
            yield f"unix://{folder}/redis.sock"
        finally:
            process.terminate()
            process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redis", metavar="URL", help="measure this Redis; its statistics are reset")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "store_cost.json")
    args = parser.parse_args()
    load, stolen = os.getloadavg()[0], StolenTime()
    rows = [row for shares in SHARES_NAMES for row in asyncio.run(measure_memory(shares))]
    with contextlib.nullcontext(args.redis) if args.redis else redis_of_our_own() as url:
        for shares in SHARES_NAMES:
            redis_rows, version = asyncio.run(measure_redis(url, shares))
            rows += redis_rows
    result = {
        "machine": machine(),
        "versions": {**versions(), "redis": version},
        "load_average_before": round(load, 2),
        "stolen_share": stolen.share(),
        "rows": rows,
    }
    args.json.write_text(json.dumps(result, indent=2) + "\n")
    for row in rows:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
