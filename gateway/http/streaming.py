"""The answer on its way from the engine to the client.

A stream is forwarded event by event as it arrives, byte for byte; so an engine that breaks off never leaves the client
with half an event before the error that follows. Any other body is forwarded as it arrives, one chunk behind: the
answer begins when its first byte is there (until then a failure can still be an error of its own), and its last byte
is sent by the caller, when the call has ended.
"""

from gateway.errors import EngineError
from gateway.http.exchange import Exchange
from gateway.http.headers import Headers, to_client
from gateway.http.usage import UsageReader, usage_of_body
from gateway.metrics import Metrics
from gateway.ports import EngineResponse
from gateway.scheduling.dispatcher import Lease

MAX_PARSED_BYTES = 2 * 2**20
"""A longer body passes without being kept for its usage: the engine's own account tells what the call has cost."""


async def relay(
    exchange: Exchange, response: EngineResponse, lease: Lease, metrics: Metrics, *, hides_usage: bool
) -> bytes:
    """Everything but the end, which is returned. Sets the lease's usage as soon as it is known."""
    headers = to_client(response.headers)
    if response.status == 200 and _is_event_stream(headers):
        exchange.is_event_stream = True
        await _begin(exchange, response, metrics, [pair for pair in headers if pair[0].lower() != b"content-length"])
        return await _relay_events(exchange, response, lease, hides_usage=hides_usage)
    return await _relay_body(exchange, response, lease, metrics, headers)


async def _relay_events(exchange: Exchange, response: EngineResponse, lease: Lease, *, hides_usage: bool) -> bytes:
    reader = UsageReader(hides_usage=hides_usage)
    try:
        async for chunk in response.chunks():
            lease.first_byte()
            await exchange.write(reader.feed(chunk))
            lease.usage = reader.usage
    except EngineError:
        await exchange.write(reader.break_off())
        raise
    return reader.end()


async def _relay_body(
    exchange: Exchange, response: EngineResponse, lease: Lease, metrics: Metrics, headers: Headers
) -> bytes:
    chunks = response.chunks()
    with exchange.waiting():
        last = await anext(chunks, b"")
    if last:
        lease.first_byte()
    await _begin(exchange, response, metrics, headers)
    kept = bytearray(last)
    async for chunk in chunks:
        await exchange.write(last)
        last = chunk
        if len(kept) <= MAX_PARSED_BYTES:
            kept += chunk
    if response.status == 200 and len(kept) <= MAX_PARSED_BYTES:
        lease.usage = usage_of_body(bytes(kept))
    return last


async def _begin(exchange: Exchange, response: EngineResponse, metrics: Metrics, headers: Headers) -> None:
    overhead_s = exchange.overhead_s()
    metrics.overhead(overhead_s)
    exchange.label("x-justitia-overhead-ms", f"{1000 * overhead_s:.3f}")
    await exchange.begin(response.status, headers)


def _is_event_stream(headers: Headers) -> bool:
    return any(name.lower() == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers)
