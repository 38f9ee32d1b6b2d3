"""The answer on its way from the engine to the client.

A stream is forwarded event by event as it arrives, byte for byte; so an engine that breaks off never leaves the client
with half an event before the error that follows. Any other body is forwarded as it arrives, one chunk behind: the
answer begins when its first byte is there (until then a failure can still be an error of its own), and its last byte
is sent by the caller, when the call has ended.
"""

import json

from gateway.errors import EngineError, EngineUnreachable
from gateway.http.answer_notes import AnswerNotes
from gateway.http.exchange import Exchange
from gateway.http.headers import Headers, to_client
from gateway.http.usage import USAGE_KEY, UsageReader, parsed, usage_of
from gateway.metrics import Metrics
from gateway.ports import EngineResponse
from gateway.scheduling.lease import Lease
from gateway.values import value

MAX_PARSED_BYTES = 2 * 2**20
"""A longer body passes without being kept for its usage: the engine's own account tells what the call has cost."""


@value
class Relay:
    """One answer on its way."""

    exchange: Exchange
    response: EngineResponse
    lease: Lease
    """Gets its usage as soon as it is known."""
    metrics: Metrics
    notes: AnswerNotes

    async def run(self, *, hides_usage: bool) -> bytes:
        """Everything but the end, which is returned."""
        headers = to_client(self.response.headers)
        is_stream = self.response.status == 200 and is_event_stream(headers)
        if self.exchange.has_begun and not is_stream:
            return await self._as_event()
        if is_stream:
            self.exchange.is_event_stream = True
            await self._begin([pair for pair in headers if pair[0].lower() != b"content-length"])
            return await self._events(hides_usage=hides_usage)
        return await self._body(headers)

    async def _events(self, *, hides_usage: bool) -> bytes:
        reader = UsageReader(hides_usage=hides_usage, answer=self.notes.reader)
        # Once for every event of every stream: nothing is looked up here that stays the same.
        lease, write = self.lease, self.exchange.write
        notes = self.notes if self.notes.is_reading else None
        try:
            async for chunk in self.response.chunks():
                lease.first_byte()
                seen = reader.feed(chunk)
                if notes is not None:
                    await notes.note()
                await write(seen)
                lease.usage = reader.usage
        except EngineError:
            await self.exchange.write(reader.break_off())
            raise
        await self.notes.note(is_end=True)
        return reader.end()

    async def _as_event(self) -> bytes:
        """An answer that is no stream, to a client that was told there would be one: an error of the engine's, nearly
        always. Its own words, on one line."""
        text = bytearray()
        async for chunk in self.response.chunks():
            self.lease.first_byte()
            text += chunk[: MAX_PARSED_BYTES - len(text)]
        try:
            data = json.dumps(json.loads(text)).encode()
        except ValueError:
            raise EngineUnreachable(f"The engine answered {self.response.status} and no stream.") from None
        event = b"event: error\n" if self.exchange.error_shape == "anthropic" else b""
        return event + b"data: " + data + b"\n\n"

    async def _body(self, headers: Headers) -> bytes:
        chunks = self.response.chunks()
        with self.exchange.waiting:
            last = await anext(chunks, b"")
        if last:
            self.lease.first_byte()
        await self._begin(headers)
        kept = bytearray(last)
        async for chunk in chunks:
            await self.exchange.write(last)
            last = chunk
            if len(kept) <= MAX_PARSED_BYTES:
                kept += chunk
        if self.response.status == 200 and len(kept) <= MAX_PARSED_BYTES:
            await self._read(bytes(kept))
        return last

    async def _read(self, body: bytes) -> None:
        if not self.notes.is_reading and USAGE_KEY not in body:
            return
        answer = parsed(body)
        self.lease.usage = usage_of(answer)
        if self.notes.reader is not None:
            self.notes.reader.read_body(answer)
            await self.notes.note(is_end=True)

    async def _begin(self, headers: Headers) -> None:
        exchange = self.exchange
        overhead_s = exchange.overhead_s()
        self.metrics.overhead(overhead_s)
        if not exchange.has_begun:  # by comments
            exchange.label("x-justitia-overhead-ms", f"{1000 * overhead_s:.3f}")
            await exchange.begin(self.response.status, headers)


def is_event_stream(headers: Headers) -> bool:
    return any(name.lower() == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers)
