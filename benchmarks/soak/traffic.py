"""What comes in at a steady pace: applications of four sorts and four tenants, and clients that leave midway.

Open loop: applications begin when they begin, however slow the answers are. The client is a hundred lines on asyncio's
streams, so that what is measured has the machine.
"""

import asyncio
import json
import random
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_CALLS_PER_APPLICATION = 2.4
"""On average, of the sorts below."""
_MAX_IN_FLIGHT = 800
"""Applications; what would begin beyond is counted and left out."""
_SHARE_LEAVING = 0.03
_IDLE_S = 30.0
"""How long a connection waits for its next call; the gateway closes it after 75."""
_ANSWER_S = 120.0
_LINE_END = b"\n"
_WORDS = ("bicycle", "booked", "Saturday", "ill", "give", "back", "price", "may", "we", "have", "it", "and", "one")

TENANTS: Mapping[str, tuple[str, ...]] = {
    "everyday": (),
    "premium": ("--weight", "2000"),
    "capped": ("--max-running", "2", "--max-waiting", "4"),
    "metered": ("--tokens-per-minute", "20000"),
}
"""With the flags of `justitia keys create`: the last two ask for more than they may have."""
_SHARES = (0.55, 0.25, 0.1, 0.1)


@dataclass(slots=True)
class Seen:
    """Of the clients, so far."""

    ended: Counter[str] = field(default_factory=Counter)
    """`answered`, `left`, or what was wrong: status and code, or how the connection failed."""
    applications: int = 0
    streams: int = 0
    unnamed: int = 0
    not_begun: int = 0


class Broken(Exception):
    """Nothing, or half an answer, came: how."""


class Client:
    """HTTP/1.1 with connections that are kept, to one address."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.num_calls = 0
        self._idle: deque[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = deque()

    async def post(self, path: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> tuple[int, bytes]:
        """Raises Broken. Cancelled, it leaves: its connection is closed at once."""
        text = json.dumps(body).encode()
        lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json"]
        lines += [*(f"{name}: {value}" for name, value in headers.items()), f"content-length: {len(text)}", "", ""]
        reader, writer = await self._connection()
        is_kept = False
        self.num_calls += 1
        try:
            writer.write("\r\n".join(lines).encode() + text)
            status, answer, is_kept = await _answer(reader)
            return status, answer
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            raise Broken(type(error).__name__) from error
        finally:
            self.num_calls -= 1
            if is_kept:
                self._idle.append((asyncio.get_running_loop().time(), reader, writer))
            else:
                writer.close()

    @property
    def num_connections(self) -> int:
        return self.num_calls + len(self._idle)

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        now = asyncio.get_running_loop().time()
        while self._idle and self._idle[0][0] < now - _IDLE_S:
            self._idle.popleft()[2].close()
        while self._idle:
            _, reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        try:
            return await asyncio.open_connection("127.0.0.1", self._port)
        except OSError as error:
            raise Broken(type(error).__name__) from error

    def close(self) -> None:
        for _, _, writer in self._idle:
            writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Status, body, and whether the connection may be used again."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(" ", 2)[1])
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    is_kept = fields.get("connection") != "close"
    if "content-length" in fields:
        return status, await reader.readexactly(int(fields["content-length"])), is_kept
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return status, body, is_kept


def how_it_ended(status: int, body: bytes) -> str:
    """`answered`, or the status and the error's code."""
    if status == 200:
        before, found, _ = body.rpartition(b'data: {"error":')
        return f"stream: {_code(body[len(before) + 6 :].partition(_LINE_END)[0])}" if found else "answered"
    return f"{status} {_code(body)}"


def _code(body: bytes) -> str:
    try:
        error = json.loads(body)["error"]
        return str(error.get("code") or error.get("type"))
    except (ValueError, KeyError, TypeError):
        return "of no known shape"


async def flow(client: Client, keys: Mapping[str, str], calls_per_s: float, seen: Seen, draw: random.Random) -> None:
    """Until cancelled."""
    running: set[asyncio.Task[None]] = set()
    number = 0
    loop = asyncio.get_running_loop()
    due_at = loop.time()
    try:
        while True:
            due_at += draw.expovariate(calls_per_s / _CALLS_PER_APPLICATION)
            await asyncio.sleep(max(0.0, due_at - loop.time()))
            number += 1
            if len(running) >= _MAX_IN_FLIGHT:
                seen.not_begun += 1
                continue
            [tenant] = draw.choices(tuple(TENANTS), _SHARES)
            one = _Application(client, f"run-{number:07d}", keys[tenant], seen, random.Random(draw.random()))
            task = asyncio.create_task(one.run())
            running.add(task)
            task.add_done_callback(running.discard)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


class _Application:
    def __init__(self, client: Client, name: str, key: str, seen: Seen, draw: random.Random) -> None:
        self._client = client
        self._name = name
        self._headers = {"authorization": f"Bearer {key}"}
        self._seen = seen
        self._draw = draw

    async def run(self) -> None:
        self._seen.applications += 1
        [sort] = self._draw.choices((self._chat, self._agent, self._conversation, self._single), (30, 15, 20, 35))
        await sort()

    async def _chat(self) -> None:
        """Named by a header, and closed by it half of the time."""
        num_calls = self._draw.randint(1, 4)
        for number in range(num_calls):
            headers = {"x-justitia-application": self._name, "x-justitia-kind": "chat"}
            if number == num_calls - 1 and self._draw.random() < 0.5:
                headers["x-justitia-final"] = "1"
            await self._call("/v1/chat/completions", headers, {"messages": self._messages(1)})

    async def _agent(self) -> None:
        """Named by its path."""
        for _ in range(self._draw.randint(3, 8)):
            await self._call(f"/apps/{self._name}/v1/chat/completions", {}, {"messages": self._messages(3)})

    async def _conversation(self) -> None:
        """Not named: each call begins with the one before and its answer."""
        messages = self._messages(1)
        for _ in range(self._draw.randint(1, 4)):
            self._seen.unnamed += 1
            await self._call("/v1/chat/completions", {}, {"messages": messages})
            messages = [*messages, {"role": "assistant", "content": "Hello"}, *self._messages(1)]

    async def _single(self) -> None:
        self._seen.unnamed += 1
        await self._call("/v1/completions", {}, {"prompt": self._text()})

    async def _call(self, path: str, headers: Mapping[str, str], content: Mapping[str, Any]) -> None:
        body = {"model": "tiny", "max_tokens": self._draw.choice((4, 8, 16, 32)), **content}
        if self._draw.random() < 0.5:
            self._seen.streams += 1
            body["stream"] = True
        patience_s = self._draw.uniform(0.0, 0.3) if self._draw.random() < _SHARE_LEAVING else None
        self._seen.ended[await self._ended(path, headers, body, patience_s)] += 1
        await asyncio.sleep(self._draw.expovariate(1.0))  # it thinks about the answer

    async def _ended(
        self, path: str, headers: Mapping[str, str], body: Mapping[str, Any], patience_s: float | None
    ) -> str:
        try:
            async with asyncio.timeout(patience_s or _ANSWER_S):
                return how_it_ended(*await self._client.post(path, {**self._headers, **headers}, body))
        except TimeoutError:
            return f"no answer in {_ANSWER_S:.0f} s" if patience_s is None else "left"
        except Broken as error:
            return f"connection: {error}"

    def _messages(self, number: int) -> list[dict[str, str]]:
        return [{"role": "user", "content": self._text()} for _ in range(number)]

    def _text(self) -> str:
        return " ".join(self._draw.choices(_WORDS, k=self._draw.randint(10, 120)))
