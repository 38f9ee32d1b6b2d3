"""The order of things in a demo: an engine, then for each round and policy a fresh gateway and the same applications.

Everything started here is in an `async with`, so whatever ends a demo ends its processes too.
"""

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from gateway.demo.client import CallStyle, Costs, gateway_caller
from gateway.demo.meter import EngineMeter, EngineTokenizer, ServedModel, readings
from gateway.demo.processes import Child, child, free_port
from gateway.demo.prompts import PreparedApplication, prepared
from gateway.demo.replay import replayed
from gateway.demo.report import RunRecord
from gateway.demo.surroundings import StolenTime
from gateway.fairness.policies import PolicyName
from gateway.workloads.workload import Workload

_PROGRAM = (sys.executable, "-m", "gateway.cli")
_ENGINE_START_TIMEOUT_S = 900.0
"""A large model on a slow disk; the first start on a new machine compiles for minutes."""
_GATEWAY_START_TIMEOUT_S = 60.0

_GATEWAY_ENVIRONMENT = {
    # Long tool times and long queues are what is measured: nothing is to be given up before its end.
    "JUSTITIA_APPLICATIONS__IDLE_CLOSE_S": "3600",
    "JUSTITIA_SCHEDULING__QUEUE_TIMEOUT_S": "3600",
    "JUSTITIA_LEARNING__TRAINS": "false",  # it takes a core for some seconds
    "JUSTITIA_TENANTS__STORED_KEYS": "false",  # the user's own would lock the demo out
}


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The engine to start, or the one that is there (`url`)."""

    url: str | None
    model: str
    kv_blocks: int
    max_model_len: int
    max_num_seqs: int


@dataclass(frozen=True, slots=True)
class RunChoice:
    policies: tuple[PolicyName, ...]
    rounds: int
    costs: Costs
    is_streaming: bool
    time_scale: float


class Progress(Protocol):
    def step(self) -> None: ...

    def close(self) -> None: ...


class Audience(Protocol):
    """Whoever watches: the terminal, or nobody."""

    def say(self, line: str) -> None: ...

    def waiting(self, what: str, seconds: float) -> None:
        """Still not ready after so long."""
        ...

    def counting(self, title: str, total: int) -> Progress:
        """A bar over `total` steps."""
        ...


@dataclass(frozen=True, slots=True)
class RunningEngine:
    url: str
    model: ServedModel
    num_blocks: int
    block_size: int
    process: Child | None
    """None where somebody else started it."""


@asynccontextmanager
async def engine(choice: EngineChoice, logs: Path, audience: Audience) -> AsyncIterator[RunningEngine]:
    """Started and ready, or found ready. Raises ChildFailed or EngineUnusable."""
    if choice.url is not None:
        yield await _inspected(choice.url, None)
        return
    port = free_port()
    argv = [*_PROGRAM, "engine", choice.model, "--host", "127.0.0.1", "--port", str(port)]
    argv += ["--num-gpu-blocks-override", str(choice.kv_blocks), "--max-model-len", str(choice.max_model_len)]
    argv += ["--max-num-seqs", str(choice.max_num_seqs), "--disable-uvicorn-access-log"]
    url = f"http://127.0.0.1:{port}"
    async with child("the engine", argv, {}, logs / "engine.log") as process:
        what = f"starting vLLM with {choice.model}"
        await process.until_ready(
            f"{url}/health", _ENGINE_START_TIMEOUT_S, lambda seconds: audience.waiting(what, seconds)
        )
        yield await _inspected(url, process)


async def _inspected(url: str, process: Child | None) -> RunningEngine:
    async with httpx.AsyncClient(base_url=url, timeout=30.0) as client:
        meter = EngineMeter(client)
        num_blocks, block_size = await meter.capacity()
        return RunningEngine(url, await meter.model(), num_blocks, block_size, process)


@asynccontextmanager
async def gateway(engine_url: str, policy: PolicyName, port: int, log: Path) -> AsyncIterator[tuple[str, Child]]:
    """A new gateway on `port`: its URL and process. Raises ChildFailed."""
    argv = [*_PROGRAM, "serve", "--engine", engine_url, "--host", "127.0.0.1", "--port", str(port), "--policy", policy]
    url = f"http://127.0.0.1:{port}"
    # What one run learns is not the next one's, nor the user's own gateways'.
    environment = {**_GATEWAY_ENVIRONMENT, "JUSTITIA_LEARNING__FOLDER": f"{log}.learning"}
    async with child(f"the gateway ({policy})", argv, environment, log) as process:
        await process.until_ready(f"{url}/readyz", _GATEWAY_START_TIMEOUT_S, lambda _: None)
        yield url, process


async def prepared_workload(
    workload: Workload, running: RunningEngine, time_scale: float, audience: Audience
) -> tuple[PreparedApplication, ...]:
    """The workload in the engine's tokens."""
    num_calls = sum(len(application.calls) for application in workload.applications)
    progress = audience.counting("counting tokens", num_calls)
    try:
        async with httpx.AsyncClient(base_url=running.url, timeout=60.0) as client:
            tokenizer = EngineTokenizer(client, running.model.name)
            return await prepared(workload, tokenizer, running.model.max_model_len, time_scale, progress.step)
    finally:
        progress.close()


def run_order(policies: Sequence[PolicyName], rounds: int) -> Iterator[tuple[int, PolicyName]]:
    """(round, policy), rounds from 1. Each round begins with the next policy, so that none always goes first."""
    for index in range(rounds):
        shift = index % len(policies)
        for policy in (*policies[shift:], *policies[:shift]):
            yield index + 1, policy


async def all_runs(
    applications: Sequence[PreparedApplication],
    running: RunningEngine,
    choice: RunChoice,
    logs: Path,
    audience: Audience,
) -> list[RunRecord]:
    """Every run, one after the other. Raises ChildFailed or EngineUnusable; failed calls are in the records."""
    nonce = secrets.token_hex(3)  # the engine may remember an earlier demo's names
    records = []
    for round_number, policy in run_order(choice.policies, choice.rounds):
        title = f"{policy}, round {round_number} of {choice.rounds}"
        style = CallStyle(running.model.name, f"{nonce}-{round_number}-{policy}", choice.costs, choice.is_streaming)
        progress = audience.counting(title, sum(len(application.calls) for application in applications))
        log = logs / f"gateway-{round_number}-{policy}.log"
        try:
            async with gateway(running.url, policy, free_port(), log) as (url, _):
                record = await _one_run(applications, url, running.url, style, policy, round_number, progress.step)
        finally:
            progress.close()
        records.append(record)
        audience.say(_told(title, record))
    return records


async def _one_run(
    applications: Sequence[PreparedApplication],
    gateway_url: str,
    engine_url: str,
    style: CallStyle,
    policy: PolicyName,
    round_number: int,
    progress: Callable[[], None],
) -> RunRecord:
    async with (
        httpx.AsyncClient(base_url=engine_url, timeout=30.0) as client,
        gateway_caller(gateway_url, style) as caller,
    ):
        meter = EngineMeter(client)
        before = await meter.until_idle()
        stolen = StolenTime()
        async with readings(meter) as during:
            ends = await replayed(applications, caller, progress)
        stolen_share = stolen.share()
        after = await meter.until_idle()
    return RunRecord(policy, round_number, ends, (before, *during, after), stolen_share)


def _told(title: str, record: RunRecord) -> str:
    jcts = [application.jct_s for application in record.applications if application.jct_s is not None]
    mean = f"mean JCT {sum(jcts) / len(jcts):.1f} s, " if jcts else ""
    failed = f", {record.num_failed_calls} calls FAILED" if record.num_failed_calls else ""
    return f"{title}: {mean}all done after {record.makespan_s:.1f} s{failed}"


async def kept(running: RunningEngine, policy: PolicyName, wanted_port: int, logs: Path, audience: Audience) -> None:
    """Leaves the engine and one gateway serving until cancelled. Raises ChildFailed if one of them ends by itself."""
    port = free_port(wanted_port)
    if port != wanted_port:
        audience.say(f"Port {wanted_port} is taken; using {port}.")
    async with gateway(running.url, policy, port, logs / "gateway.log") as (url, process):
        audience.say(_invitation(url, running.model.name))
        children = [process] if running.process is None else [process, running.process]
        await _until_one_ends(children)


async def _until_one_ends(children: Sequence[Child]) -> None:
    ends = {asyncio.create_task(one.ended()): one for one in children}
    try:
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in ends:
            task.cancel()
    for task in done:
        raise ends[task].failure()


def _invitation(url: str, model: str) -> str:
    body = f'{{"model": "{model}", "max_tokens": 16, "messages": [{{"role": "user", "content": "Hello"}}]}}'
    return f"""
Serving until Ctrl-C. Any OpenAI client, as the application `my-agent`:

  export OPENAI_BASE_URL={url}/apps/my-agent/v1
  export OPENAI_API_KEY=anything

  curl {url}/apps/my-agent/v1/chat/completions -H 'Content-Type: application/json' -d '{body}'
"""
