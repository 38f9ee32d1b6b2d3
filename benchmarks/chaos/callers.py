"""Applications that call all the time through the openai client, which tries nothing twice, and what became of each."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx
from openai import APIConnectionError, APIError, APIStatusError, AsyncOpenAI

_DEADLINE_S = 120.0
"""A call that has not ended by then hangs."""
_AFTER_ERROR_S = 0.5
_OUT_FOR_S = 10.0
"""A gateway whose connection broke gets no call for so long where there is another, as nginx has it by default."""
_COST = 1e7
"""Far beyond what they use, so that nothing but the kills could move their order."""

ANSWERED = "answered"
HUNG = "hung"
CUT_OFF = "cut off without a word"
CONNECTION = "connection broke or was refused"


@dataclass(frozen=True, slots=True)
class Ended:
    began_at: float
    ended_at: float
    """Monotonic seconds."""
    how: str
    """ANSWERED, HUNG, CUT_OFF, CONNECTION, or the gateway's error: status and code, `event` for one in a stream."""


class Callers:
    """On a thread of their own; every second call is a stream. Each goes to the gateways in turn."""

    def __init__(self, urls: Sequence[str], num_applications: int) -> None:
        self.num_begun = 0
        self.ended: list[Ended] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._goes_on = True
        self.num_applications = num_applications
        self._names = [f"caller-{number}" for number in range(num_applications)]
        self._urls = [*urls]
        self._out_until = [0.0] * len(urls)

    def __enter__(self) -> "Callers":
        self._thread.start()
        self._all = asyncio.run_coroutine_threadsafe(self._call_all(), self._loop)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.finish()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def finish(self) -> None:
        """Calls that have begun end. Raises what nobody expected of the client."""
        self._goes_on = False
        self._all.result(2 * _DEADLINE_S)

    def check(self) -> None:
        """Raises what ended the load, if anything did."""
        if self._all.done():
            self._all.result()

    def between(self, begin: float, end: float) -> dict[str, int]:
        """How those ended that were there at some time in between."""
        met = (one.how for one in self.ended if one.ended_at >= begin and one.began_at <= end)
        return dict(sorted(Counter(met).items()))

    def answers_per_s(self, begin: float, end: float) -> float:
        """Complete ones, between two monotonic seconds."""
        answered = sum(one.how == ANSWERED and begin <= one.ended_at < end for one in self.ended)
        return round(answered / (end - begin), 1)

    def first_answer_begun_after(self, at: float) -> float | None:
        return min((one.ended_at for one in self.ended if one.began_at >= at and one.how == ANSWERED), default=None)

    async def _call_all(self) -> None:
        async with httpx.AsyncClient(timeout=None, limits=httpx.Limits(keepalive_expiry=4.0)) as http:
            clients = [
                AsyncOpenAI(base_url=f"{url}/v1", api_key="nobody", max_retries=0, http_client=http)
                for url in self._urls
            ]
            async with asyncio.TaskGroup() as group:
                for number, name in enumerate(self._names):
                    group.create_task(self._call_for_ever(clients, name, number))

    async def _call_for_ever(self, clients: Sequence[AsyncOpenAI], name: str, number: int) -> None:
        turn = number
        while self._goes_on:
            turn += 1
            self.num_begun += 1
            began_at = time.monotonic()
            gateway = self._gateway_for(turn // 2, began_at)  # half as fast as streams take turns: each gets both
            cost, max_tokens = (number + 1) * _COST, 8 + turn % 5 * 8
            how = await _ended(clients[gateway], name, cost, max_tokens, is_stream=turn % 2 == 0)
            self.ended.append(Ended(began_at, time.monotonic(), how))
            if how == CONNECTION:
                self._out_until[gateway] = time.monotonic() + _OUT_FOR_S
            if how != ANSWERED:
                await asyncio.sleep(_AFTER_ERROR_S)

    def _gateway_for(self, turn: int, now: float) -> int:
        """Its index; any of them where all are out."""
        everyone = range(len(self._urls))
        there = [gateway for gateway in everyone if self._out_until[gateway] <= now] or everyone
        return there[turn % len(there)]


async def _ended(client: AsyncOpenAI, name: str, cost: float, max_tokens: int, *, is_stream: bool) -> str:
    call = _stream if is_stream else _unary
    headers = {"X-Justitia-Application": name, "X-Justitia-Expected-Cost": f"{cost:g}"}
    try:
        async with asyncio.timeout(_DEADLINE_S):
            return await call(client, headers, max_tokens)
    except TimeoutError:
        return HUNG
    except (APIConnectionError, httpx.TransportError):
        return CONNECTION
    except APIStatusError as error:
        return f"{error.status_code} {error.code}"
    except APIError as error:
        return f"event {error.code}"


async def _unary(client: AsyncOpenAI, headers: dict[str, str], max_tokens: int) -> str:
    answer = await client.chat.completions.create(
        model="tiny", messages=_MESSAGES, max_tokens=max_tokens, extra_headers=headers
    )
    return ANSWERED if answer.choices else CUT_OFF


async def _stream(client: AsyncOpenAI, headers: dict[str, str], max_tokens: int) -> str:
    is_whole = False
    stream = await client.chat.completions.create(
        model="tiny", messages=_MESSAGES, max_tokens=max_tokens, extra_headers=headers, stream=True
    )
    async with stream:
        async for chunk in stream:
            is_whole = is_whole or any(choice.finish_reason for choice in chunk.choices)
    return ANSWERED if is_whole else CUT_OFF


_MESSAGES: Iterable[Any] = [{"role": "user", "content": "May we give one of the two bicycles back? " * 6}]
