"""A collector that speaks OTLP over HTTP and reads what comes with OpenTelemetry's own classes."""

import asyncio
import contextlib
import gzip
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

Says = Callable[[int], Awaitable[int]]
"""From the number of the request to a status."""


async def _takes_it(_: int) -> int:
    return 200


class Collector:
    def __init__(self, says: Says = _takes_it) -> None:
        self.says = says
        self.spans: list[Span] = []
        self.resources: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.num_asked = 0
        self._came = asyncio.Condition()
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> "Collector":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task, writer in list(self._open.items()):
            writer.close()
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def trace(self, num_spans: int) -> dict[str, list[Span]]:
        """By name, once so many have come."""
        async with asyncio.timeout(10), self._came:
            await self._came.wait_for(lambda: len(self.spans) >= num_spans)
        assert len(self.spans) == num_spans, [span.name for span in self.spans]
        found: dict[str, list[Span]] = {}
        for span in self.spans:
            found.setdefault(span.name, []).append(span)
        return found

    async def asked(self, num: int) -> None:
        async with asyncio.timeout(10), self._came:
            await self._came.wait_for(lambda: self.num_asked >= num)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
                body = await reader.readexactly(int(headers["content-length"]))
                assert head[0].startswith("POST /v1/traces ")
                await self._take(headers, body, writer)

    async def _take(self, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> None:
        async with self._came:
            self.num_asked += 1
            self._came.notify_all()
        status = await self.says(self.num_asked)
        if status == 200:
            if headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            request = ExportTraceServiceRequest.FromString(body)
            async with self._came:
                self.headers.append(headers)
                for of_resource in request.resource_spans:
                    self.resources.append(attributes(of_resource.resource))
                    for of_scope in of_resource.scope_spans:
                        assert of_scope.scope.name == "justitia-gateway"
                        self.spans += of_scope.spans
                self._came.notify_all()
        writer.write(b"HTTP/1.1 %d Said\r\ncontent-length: 0\r\n\r\n" % status)
        await writer.drain()


def attributes(held: Any) -> dict[str, Any]:
    """Of a span or a resource."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in held.attributes}
