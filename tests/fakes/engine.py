"""A scripted vLLM server: real HTTP over a real socket, answers as the test says, down to each chunk.

async with FakeVllm() as engine:
    engine.on_call = streams(b"data: …\\n\\n", …)
    …
    assert engine.calls[0].header("x-vllm-priority") == "0"
"""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

Headers = Iterable[tuple[str, str]]


@dataclass
class Received:
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client closes the connection before the answer is complete."""

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    def json(self) -> Any:
        return json.loads(self.body)


class Conversation:
    """One request and the answer being written to it."""

    def __init__(self, request: Received, writer: asyncio.StreamWriter) -> None:
        self.request = request
        self._writer = writer

    async def answer(
        self, status: int, body: bytes, headers: Headers = (("content-type", "application/json"),)
    ) -> None:
        await self.head(status, [*headers, ("content-length", str(len(body)))])
        await self.raw(body)

    async def head(self, status: int, headers: Headers) -> None:
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "connection: close"]
        lines += [f"{name}: {value}" for name, value in headers]
        await self.raw(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    async def begin_stream(self) -> None:
        await self.head(200, [("content-type", "text/event-stream; charset=utf-8"), ("transfer-encoding", "chunked")])

    async def chunk(self, data: bytes) -> None:
        await self.raw(b"%x\r\n%s\r\n" % (len(data), data))

    async def end_stream(self) -> None:
        await self.raw(b"0\r\n\r\n")

    async def raw(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def reset(self) -> None:
        """As a process that is killed: no goodbye."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self._writer.transport.abort()


Script = Callable[[Conversation], Awaitable[None]]


def answers(content: object, status: int = 200, headers: Headers = ()) -> Script:
    async def script(conversation: Conversation) -> None:
        body = json.dumps(content).encode()
        await conversation.answer(status, body, [("content-type", "application/json"), *headers])

    return script


def streams(*chunks: bytes) -> Script:
    """Each chunk in a write of its own, the loop running in between."""

    async def script(conversation: Conversation) -> None:
        await conversation.begin_stream()
        for chunk in chunks:
            await conversation.chunk(chunk)
            await asyncio.sleep(0)
        await conversation.end_stream()

    return script


def streams_then(chunks: Iterable[bytes], then: Script) -> Script:
    async def script(conversation: Conversation) -> None:
        await conversation.begin_stream()
        for chunk in chunks:
            await conversation.chunk(chunk)
        await then(conversation)

    return script


async def hangs(conversation: Conversation) -> None:
    """Nothing more, until the client leaves."""
    await conversation.request.hung_up.wait()


async def ends(conversation: Conversation) -> None:
    await conversation.end_stream()


async def resets(conversation: Conversation) -> None:
    conversation.reset()


def waits_for(gate: asyncio.Event, then: Script) -> Script:
    async def script(conversation: Conversation) -> None:
        await gate.wait()
        await then(conversation)

    return script


COMPLETION = {
    "id": "cmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "tiny",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
}


class FakeVllm:
    def __init__(self, models: tuple[str, ...] = ("tiny",), *, is_patched: bool = True) -> None:
        self.on_call: Script = answers(COMPLETION)
        self.models = models
        self.is_patched = is_patched
        self.is_full = False
        """No memory is free, and calls that are not answered yet wait."""
        self.service = 0.0
        self.finished: list[dict[str, Any]] = []
        self.received: list[Received] = []
        self.ranks: list[dict[str, int]] = []
        self.port = 0
        self.token: str | None = None
        self.server_info: object = None
        """What the development route tells; None: there is no such route."""
        self.server_info_status = 200
        self.on_state: Script | None = None
        self.on_models: Script | None = None
        self._incarnation = time.time_ns()
        self._in_flight: list[Received] = []
        self._arrived = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "FakeVllm":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Gone: connections are closed and new ones refused. It can be entered again, on the same port."""
        # Accept no more, then let what was just accepted get its task, which takes some turns of the loop. A server
        # closed in between leaks the connection (CPython 3.11).
        for sock in self._server.sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())
        for _ in range(10):
            await asyncio.sleep(0)
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def calls(self) -> list[Received]:
        return [request for request in self.received if request.method == "POST" and request.path.startswith("/v1/")]

    async def call_arrived(self, number: int = 1) -> Received:
        """The n-th call, as soon as it is here."""
        while len(self.calls) < number:
            self._arrived.clear()
            await self._arrived.wait()
        return self.calls[number - 1]

    async def was_read(self) -> None:
        """Until whoever reads our state knows all that is true now: one reading that begins from here on, and the next,
        which shows that the first has arrived."""
        seen = self._num_readings
        while self._num_readings < seen + 2:
            self._arrived.clear()
            await self._arrived.wait()

    @property
    def _num_readings(self) -> int:
        return sum(request.path.startswith(("/justitia/state", "/metrics")) for request in self.received)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._answer(await _read_request(reader), reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client, or the script, has closed it
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            self._tasks.discard(task)

    async def _answer(self, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.received.append(request)
        self._in_flight.append(request)
        self._arrived.set()
        watch = asyncio.create_task(_watch(reader, request.hung_up))
        try:
            await self._route(request)(Conversation(request, writer))
        finally:
            watch.cancel()
            self._in_flight.remove(request)

    def _route(self, request: Received) -> Script:
        path = request.path.partition("?")[0]
        if path == "/v1/models" and self.on_models is not None:
            return self.on_models
        if path == "/v1/models":
            return answers({"object": "list", "data": [{"id": model, "object": "model"} for model in self.models]})
        if path.startswith("/justitia/") and self.is_patched:
            if self.token is not None and request.header("authorization") != f"Bearer {self.token}":
                return answers({"error": {"message": "the token is needed"}}, 401)
            return self._patched_route(request, path)
        if path == "/metrics":
            return self._metrics
        if path == "/server_info" and self.server_info is not None:
            return answers(self.server_info, self.server_info_status)
        if "/v1/" in path or path in ("/tokenize", "/detokenize"):
            return self.on_call
        return answers({"detail": "Not Found"}, 404)

    def _patched_route(self, request: Received, path: str) -> Script:
        if path == "/justitia/ranks":
            self.ranks.append(request.json()["ranks"])
            return answers({"reranked": 0})
        if self.on_state is not None:
            return self.on_state
        since = int(request.path.partition("since=")[2])
        waiting = [call.header("x-request-id") for call in self._in_flight if call.path.startswith("/v1/")]
        return answers(
            {
                "version": 1,
                "incarnation": self._incarnation,
                "policy": "priority",
                "service": self.service,
                "iterations": 1,
                "capacity_kv_tokens": 8192,
                "free_kv_tokens": 0 if self.is_full else 8192,
                "block_size": 16,
                "max_num_seqs": 64,
                "num_running": 0,
                "num_waiting": len(waiting) if self.is_full else 0,
                "waiting_calls": waiting if self.is_full else [],
                "preemptions": 0,
                "passed": 2,
                "hook_failures": 0,
                "finished": self.finished[since:],
                "first_sequence": 0,
                "next_sequence": len(self.finished),
            }
        )

    async def _metrics(self, conversation: Conversation) -> None:
        await conversation.answer(200, STOCK_METRICS.encode(), [("content-type", "text/plain; version=0.0.4")])


STOCK_METRICS = """\
# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.79e+09
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 3.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="tiny"} 2.0
# HELP vllm:num_requests_waiting_by_reason Number of requests waiting by reason.
# TYPE vllm:num_requests_waiting_by_reason gauge
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 2.0
# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.25
# HELP vllm:num_preemptions_total Cumulative number of preemption from the engine.
# TYPE vllm:num_preemptions_total counter
vllm:num_preemptions_total{engine="0",model_name="tiny"} 5.0
# HELP vllm:num_preemptions_created Cumulative number of preemption from the engine.
# TYPE vllm:num_preemptions_created gauge
vllm:num_preemptions_created{engine="0",model_name="tiny"} 1.79e+09
# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="16",cache_dtype="auto",engine="0",num_gpu_blocks="257",sliding_window="None"} 1.0
"""


async def _read_request(reader: asyncio.StreamReader) -> Received:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, path, _ = first.split(" ")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
    return Received(method, path, headers, await reader.readexactly(length))


async def _watch(reader: asyncio.StreamReader, hung_up: asyncio.Event) -> None:
    """One request a connection: whatever comes after it is the end."""
    with contextlib.suppress(ConnectionError):
        await reader.read(1)
    hung_up.set()
