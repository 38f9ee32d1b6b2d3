import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from gateway.answering import Answer
from tests.fakes.engine import FakeVllm
from tests.http.listeners import listening_gateway

Headers = Sequence[tuple[bytes, bytes]]
Message = dict[str, Any]

SERVERS_OWN = [(b"date", b"Sun, 22 Nov 2026 12:00:00 GMT"), (b"server", b"justitia")]


@dataclass
class FakeTransport:
    writes: list[bytes] = field(default_factory=list)
    is_closed: bool = False

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.writes.append(data)

    def writelines(self, pieces: Iterable[bytes]) -> None:
        listed = list(pieces)
        assert all(listed), "asyncio's, from Python 3.12 on, never gets rid of an empty piece, and never closes then"
        self.write(b"".join(listed))

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed


def cycle_of(
    kind: type[RequestResponseCycle], transport: FakeTransport, method: str = "POST", *, keep_alive: bool = True
) -> RequestResponseCycle:
    made: Any = kind  # a transport and a scope that have what it needs
    itself: Any = transport
    cycle: RequestResponseCycle = made(
        scope={"method": method},
        transport=transport,
        flow=FlowControl(itself),
        logger=None,
        access_logger=None,
        access_log=False,
        default_headers=SERVERS_OWN,
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=keep_alive,
        on_response=lambda: None,
    )
    return cycle


def start(headers: Headers, status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(data: bytes, *, has_more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": has_more}


async def sent(cycle: RequestResponseCycle, messages: Iterable[Message]) -> None:
    for message in messages:
        await cycle.send(message)  # type: ignore[arg-type]
    await asyncio.sleep(0)


def outcome(kind: type[RequestResponseCycle], method: str, messages: Sequence[Message], *, keep_alive: bool) -> object:
    """The bytes, whether the connection was closed, and whether the answer is complete; None where it is none."""

    async def run() -> object:
        transport = FakeTransport()
        cycle = cycle_of(kind, transport, method, keep_alive=keep_alive)
        try:
            await sent(cycle, messages)
        except (RuntimeError, ValueError):
            return None
        return b"".join(transport.writes), transport.is_closed, cycle.response_complete, cycle.message_event.is_set()

    return asyncio.run(run())


text = st.binary(max_size=8)
names = st.sampled_from([b"content-type", b"X-Request-Id", b"bad name", b"bad:name", b"", b"new\nline"]) | text
framing = st.sampled_from(
    [
        (b"content-length", b"5"),
        (b"Content-Length", b"0"),
        (b"content-length", b"x"),
        (b"transfer-encoding", b"Chunked"),
        (b"transfer-encoding", b"gzip"),
        (b"connection", b"close"),
        (b"Connection", b"upgrade, Close"),
        (b"connection", b"keep-alive"),
    ]
)
headers = st.lists(framing | st.tuples(names, text), max_size=5)
bodies = st.lists(st.tuples(st.binary(max_size=6), st.booleans()), max_size=3)


@given(
    method=st.sampled_from(["GET", "POST", "HEAD"]),
    status=st.sampled_from([200, 204, 304, 404, 503]),
    headers=headers,
    bodies=bodies,
    keep_alive=st.booleans(),
    is_begun=st.booleans(),
)
@example("POST", 200, [(b"content-length", b"5")], [(b"abcde", False)], True, True)
@example("POST", 200, [(b"content-length", b"5")], [(b"ab", True), (b"cde", False)], False, True)
@example("POST", 200, [(b"content-length", b"5")], [(b"abcdef", False)], True, True)
@example("POST", 200, [(b"content-length", b"5")], [(b"abc", False)], True, True)
@example("POST", 200, [], [(b"abc", True), (b"", True), (b"", False), (b"", False)], True, True)
@example("HEAD", 200, [(b"content-length", b"5")], [(b"", False)], True, True)
@example("POST", 200, [(b"x", b"a\r\nb: c")], [(b"", False)], True, True)
@example("POST", 200, [(b"x", b"a\tb")], [(b"", False)], True, True)
def test_the_bytes_are_those_of_the_server_that_is_built_upon(
    method: str, status: int, headers: Headers, bodies: list[tuple[bytes, bool]], keep_alive: bool, is_begun: bool
) -> None:
    messages = [start(headers, status)] if is_begun else []
    messages += [body(data, has_more=has_more) for data, has_more in bodies]
    ours, theirs = (outcome(kind, method, messages, keep_alive=keep_alive) for kind in (Answer, RequestResponseCycle))
    assert ours == theirs


@pytest.mark.parametrize("headers", [[(b"content-length", b"3")], [(b"transfer-encoding", b"chunked")]])
async def test_what_is_said_in_one_turn_leaves_in_one_write(headers: Headers) -> None:
    transport = FakeTransport()
    await sent(cycle_of(Answer, transport), [start(headers), body(b"abc")])
    assert len(transport.writes) == 1
    assert transport.writes[0].startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_head_does_not_wait_for_its_body() -> None:
    transport = FakeTransport()
    cycle = cycle_of(Answer, transport)
    await sent(cycle, [start([(b"content-length", b"3")])])
    [head] = transport.writes
    assert head.endswith(b"content-length: 3\r\n\r\n")
    await sent(cycle, [body(b"abc")])
    assert transport.writes == [head, b"abc"]


async def test_nothing_is_written_into_what_was_closed_meanwhile() -> None:
    transport = FakeTransport()
    cycle = cycle_of(Answer, transport)
    await cycle.send(start([]))  # type: ignore[arg-type]
    transport.close()
    await asyncio.sleep(0)
    assert transport.writes == []


async def test_a_client_that_left_is_told_nothing() -> None:
    transport = FakeTransport()
    cycle = cycle_of(Answer, transport)
    cycle.disconnected = True
    await sent(cycle, [start([]), body(b"abc")])
    assert transport.writes == []


async def test_the_gateway_answers_so(engine: FakeVllm, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []
    begin = Answer._begin

    def counted(answer: Answer, status: int, headers: Headers) -> None:
        begun.append(status)
        begin(answer, status, headers)

    monkeypatch.setattr(Answer, "_begin", counted)
    async with listening_gateway(engine) as gateway:
        assert (await gateway.client.get("/healthz")).status_code == 200
        assert (await gateway.client.get("/nowhere")).status_code == 404
    assert begun == [200, 404]
