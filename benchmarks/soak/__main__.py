"""Half an hour of steady traffic against one gateway with Redis: does anything grow? make soak

    python -m benchmarks.soak [--minutes 30] [--calls-per-second 80] [--output FILE]

Settings are the defaults but for what is kept for long, so that all of it is full when the warm-up ends: the record of
closed applications holds 2,000 instead of 20,000; links between calls live for 5 minutes instead of an hour, and the
gateway itself keeps 5,000 of them instead of 200,000. Two of the four tenants ask for more than they may have, three
clients in a hundred leave midway, and halfway the engine is killed. Writes benchmarks/results/soak.json and the table
of docs/speed.md; exit status 1 where something is not flat.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from benchmarks.gateway.processes import (
    NotStarted,
    ends_cleanly_when_told,
    free_port,
    last_line,
    started,
    wait_for_listener,
)
from benchmarks.soak import tables, verdict
from benchmarks.soak.traffic import TENANTS, Client, Seen, flow
from benchmarks.soak.watching import Row, of_gateway, of_process, of_redis, without_ttl
from gateway.demo.surroundings import StolenTime, machine, versions

ROOT = Path(__file__).parents[2]

SAMPLE_S = 10.0
ENGINE_AWAY_S = 5.0
_OPERATOR = "an-operator-of-the-soak"
_SETTINGS = {
    "JUSTITIA_SERVER__OPERATOR_TOKEN": _OPERATOR,
    "JUSTITIA_LEARNING__MAX_RECORDED": "2000",
    "JUSTITIA_STORE__LINK_TTL_S": "300",
    "JUSTITIA_STORE__MAX_LINKS": "5000",
}


class _Engine:
    """Killed and started again by number, on the same port."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.port = free_port()
        self._log = folder / "engine.log"
        self._stack = stack
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "benchmarks.soak.engine", str(self.port)]
        path = {"PYTHONPATH": str(ROOT)}
        self._process = self._stack.enter_context(started(command, self._log, environment=path))
        wait_for_listener(self.port)

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


@dataclass(frozen=True, slots=True)
class _Stage:
    engine: _Engine
    gateway_port: int
    gateway: int
    """Process id."""
    redis: "Redis[bytes]"
    keys: dict[str, str]


@contextlib.contextmanager
def _stage(folder: Path) -> Iterator[_Stage]:
    if shutil.which("redis-server") is None:
        raise NotStarted("no redis-server here: apt-get install redis-server")
    with contextlib.ExitStack() as stack:
        redis_port, port = free_port(), free_port()
        options = ("--bind", "127.0.0.1", "--port", str(redis_port), "--save", "", "--appendonly", "no")
        stack.enter_context(started(["redis-server", *options], folder / "redis.log"))
        wait_for_listener(redis_port)
        redis_url = f"redis://127.0.0.1:{redis_port}/0"
        keys = {tenant: _made_key(tenant, flags, redis_url) for tenant, flags in TENANTS.items()}
        engine = _Engine(folder, stack)
        engine.start()
        log = folder / "gateway.log"
        command = [sys.executable, "-m", "gateway.cli", "serve", "--port", str(port), "--redis", redis_url]
        command += ["--engine", f"http://127.0.0.1:{engine.port}"]
        settings = {**_SETTINGS, "XDG_STATE_HOME": str(folder / "state"), "PYTHONPATH": str(ROOT)}
        gateway = stack.enter_context(started(command, log, environment=settings))
        try:
            wait_for_listener_patiently(gateway, log, port)
            yield _Stage(engine, port, gateway.pid, stack.enter_context(Redis.from_url(redis_url)), keys)
        finally:
            sys.stderr.write(log.read_text(errors="replace")[-4000:])


def wait_for_listener_patiently(process: subprocess.Popen[bytes], log: Path, port: int) -> None:
    """A gateway imports for some seconds on a machine that is at work. Raises NotStarted."""
    for attempt in range(6):
        try:
            wait_for_listener(port)
            return
        except NotStarted:
            if process.poll() is not None or attempt == 5:
                raise NotStarted(f"the gateway: {last_line(log)}") from None


def _made_key(tenant: str, flags: tuple[str, ...], redis_url: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JUSTITIA_")}
    command = [sys.executable, "-m", "gateway.cli", "keys", "create", "--tenant", tenant, *flags, "--redis", redis_url]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=ROOT)
    return done.stdout.strip()


async def _soaked(stage: _Stage, seconds: float, calls_per_s: float) -> Row:
    client, seen, began = Client(stage.gateway_port), Seen(), time.monotonic()
    samples: list[Row] = []
    kill_at_s = seconds / 2
    flowing = asyncio.create_task(flow(client, stage.keys, calls_per_s, seen, random.Random(7)))
    restarting = asyncio.create_task(_restart(stage.engine, kill_at_s))
    try:
        while time.monotonic() - began < seconds:
            await asyncio.sleep(SAMPLE_S - (time.monotonic() - began) % SAMPLE_S)
            assert not flowing.done()
            assert not (restarting.done() and restarting.exception())
            sample = {"at_s": round(time.monotonic() - began, 1), **await asyncio.to_thread(_sample, stage)}
            samples.append({**sample, "connections": client.num_connections, "ended": dict(seen.ended)})
            print(json.dumps(samples[-1]), flush=True)
    finally:
        for task in (flowing, restarting):
            task.cancel()
        await asyncio.gather(flowing, restarting, return_exceptions=True)
        client.close()
    return {
        "seconds": round(time.monotonic() - began, 1),
        "asked_calls_per_s": calls_per_s,
        "engine_killed_at_s": kill_at_s,
        "engine_away_s": ENGINE_AWAY_S,
        "applications": seen.applications,
        "streams": seen.streams,
        "unnamed": seen.unnamed,
        "not_begun": seen.not_begun,
        "ended": dict(sorted(seen.ended.items())),
        "samples": samples,
    }


def _sample(stage: _Stage) -> Row:
    url = f"http://127.0.0.1:{stage.gateway_port}"
    return {**of_process(stage.gateway), **of_redis(stage.redis), **of_gateway(url, _OPERATOR)}


async def _restart(engine: _Engine, after_s: float) -> None:
    await asyncio.sleep(after_s)
    await asyncio.to_thread(engine.kill)
    await asyncio.sleep(ENGINE_AWAY_S)
    await asyncio.to_thread(engine.start)


def shown(report: Row) -> str:
    """JSON with one line for each sample."""
    rows = ",\n".join(f"  {json.dumps(row)}" for row in report["samples"])
    head = json.dumps({name: value for name, value in report.items() if name != "samples"}, indent=1)[:-2]
    return f'{head},\n "samples": [\n{rows}\n ]\n}}\n'


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--calls-per-second", type=float, default=80.0)
    parser.add_argument("--output", type=Path, default=tables.RESULT)
    args = parser.parse_args()
    ends_cleanly_when_told()
    surroundings: Row = {"machine": machine(), "versions": versions(), "load_average": round(os.getloadavg()[0], 2)}
    stolen = StolenTime()
    try:
        with tempfile.TemporaryDirectory(prefix="justitia-soak-") as folder, _stage(Path(folder)) as stage:
            found = asyncio.run(_soaked(stage, args.minutes * 60, args.calls_per_second))
            stays = without_ttl(stage.redis)
    except NotStarted as error:
        print(f"soak: {error}", file=sys.stderr)
        return 2
    report = {**surroundings, "stolen_share": stolen.share(), **found}
    report["faults"] = verdict.faults(report, stays)
    args.output.write_text(shown(report))
    if args.output == tables.RESULT:
        tables.written()
    print("\n".join(report["faults"]) or "flat")
    return 1 if report["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
