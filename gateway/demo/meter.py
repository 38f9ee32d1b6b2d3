"""An engine's own account of itself while a run goes on: its /metrics, read once a second."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import fmean

import httpx

from gateway.workloads.traces import Message

_INTERVAL_S = 1.0
_IDLE_TIMEOUT_S = 60.0
_SAMPLE = re.compile(r"^(vllm:[a-z_]+)(?:\{[^}]*\})? ([0-9.eE+-]+)$", re.MULTILINE)


class EngineUnusable(Exception):
    """The engine does not answer as a vLLM server does."""


@dataclass(frozen=True, slots=True)
class EngineReading:
    """One look at an engine. Counters count from its start."""

    kv_usage: float
    """Share of the KV memory held by calls, 0 to 1."""
    num_running: int
    num_waiting: int
    """Inside the engine; those that the gateway holds back are not among them."""
    preemptions: int
    steps: int
    prefix_queried_tokens: int
    prefix_hit_tokens: int


@dataclass(frozen=True, slots=True)
class ServedModel:
    name: str
    max_model_len: int


class EngineMeter:
    """Reads one engine. All methods raise EngineUnusable."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def model(self) -> ServedModel:
        """The first model it serves."""
        answer = await self._get("/v1/models")
        try:
            first = answer.json()["data"][0]
            return ServedModel(first["id"], int(first["max_model_len"]))
        except (ValueError, KeyError, IndexError, TypeError):
            raise EngineUnusable("GET /v1/models names no model with a max_model_len: is it a vLLM server?") from None

    async def read(self) -> EngineReading:
        values: dict[str, list[float]] = {}
        for name, value in _SAMPLE.findall((await self._get("/metrics")).text):
            values.setdefault(name, []).append(float(value))
        return _reading(values)

    async def capacity(self) -> tuple[int, int]:
        """(blocks, tokens a block) of its KV memory."""
        info = re.search(r"^vllm:cache_config_info\{(.*)\}", (await self._get("/metrics")).text, re.MULTILINE)
        labels = dict(re.findall(r'(\w+)="([^"]*)"', info[1])) if info else {}
        try:
            return int(labels["num_gpu_blocks"]), int(labels["block_size"])
        except (KeyError, ValueError):
            raise EngineUnusable("its metrics do not tell the size of the KV memory") from None

    async def until_idle(self) -> EngineReading:
        """Waits until it has no call left; the reading that showed it."""
        try:
            async with asyncio.timeout(_IDLE_TIMEOUT_S):
                while True:
                    reading = await self.read()
                    if reading.num_running == 0 and reading.num_waiting == 0:
                        return reading
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise EngineUnusable(
                f"it is still busy after {_IDLE_TIMEOUT_S:.0f} s: does somebody else use it?"
            ) from None

    async def _get(self, path: str) -> httpx.Response:
        try:
            return (await self._client.get(path)).raise_for_status()
        except httpx.HTTPError as error:
            raise EngineUnusable(f"GET {path}: {type(error).__name__} {error}") from error


class EngineTokenizer:
    """Counts prompts with the engine's own tokenizer and chat template. Raises EngineUnusable."""

    def __init__(self, client: httpx.AsyncClient, model: str) -> None:
        self._client = client
        self._model = model

    async def count(self, messages: Sequence[Message]) -> int:
        body = {"model": self._model, "messages": [dict(message) for message in messages]}
        try:
            answer = (await self._client.post("/tokenize", json=body)).raise_for_status()
            return int(answer.json()["count"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise EngineUnusable(f"POST /tokenize: {type(error).__name__} {error}") from error


@asynccontextmanager
async def readings(meter: EngineMeter) -> AsyncIterator[list[EngineReading]]:
    """A list that grows by a reading each second while the context is open."""
    taken: list[EngineReading] = []

    async def take() -> None:
        while True:
            taken.append(await meter.read())
            await asyncio.sleep(_INTERVAL_S)

    taking = asyncio.create_task(take())
    try:
        yield taken
    finally:
        taking.cancel()
        await asyncio.wait([taking])
    if not taking.cancelled():
        taking.result()  # it ended by an error of its own, which is the caller's to hear


def _reading(values: Mapping[str, Sequence[float]]) -> EngineReading:
    """A server may have several engine cores, each with its own lines: loads add up, usages have a mean."""

    def total(name: str) -> int:
        return int(sum(values[f"vllm:{name}"]))

    try:
        return EngineReading(
            kv_usage=fmean(values["vllm:kv_cache_usage_perc"]),
            num_running=total("num_requests_running"),
            num_waiting=total("num_requests_waiting"),
            preemptions=total("num_preemptions_total"),
            steps=total("iteration_tokens_total_count"),
            prefix_queried_tokens=total("prefix_cache_queries_total"),
            prefix_hit_tokens=total("prefix_cache_hits_total"),
        )
    except KeyError as missing:
        raise EngineUnusable(f"its metrics lack {missing.args[0]}: is it a vLLM server?") from None
