"""The engine of the soak, in a process of its own so that it can be killed: python -m benchmarks.soak.engine PORT

A memory that fills, ranks that are obeyed, records of what ended, streams that come a token an iteration: what a
patched vLLM does, for a hundredth of its CPU time. It remembers nothing for good.
"""

import asyncio
import json
import signal
import sys
from collections import deque
from typing import Any, SupportsIndex

from tests.fakes.engine import Conversation
from tests.fakes.filling_engine import FillingVllm

_REMEMBERED = 2000
"""Records of ended calls and requests: a gateway that is awake asks for the records many times a second."""


class _Latest(list[Any]):
    """A list that has forgotten all but its end: numbers and length are those of the whole."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: deque[Any] = deque(maxlen=_REMEMBERED)
        self._length = 0

    def append(self, item: Any) -> None:
        self._kept.append(item)
        self._length += 1

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, wanted: SupportsIndex | slice) -> Any:
        assert isinstance(wanted, slice)
        first = self._length - len(self._kept)
        return list(self._kept)[max(0, (wanted.start or 0) - first) :]

    def __iter__(self) -> Any:
        return iter(self._kept)


class SoakedVllm(FillingVllm):
    def __init__(self, port: int) -> None:
        super().__init__(capacity=32_768, max_num_seqs=48)
        self.port = port
        self.finished, self.received, self.ranks = _Latest(), _Latest(), _Latest()

    async def _hold(self, conversation: Conversation) -> None:
        if not conversation.request.json().get("stream"):
            await super()._hold(conversation)
            return
        whole = _Whole(conversation)
        await super()._hold(whole)
        if whole.body is not None:
            await self._told(conversation, json.loads(whole.body))

    async def _told(self, conversation: Conversation, answer: dict[str, Any]) -> None:
        """In as many events as it has tokens, half of them at once: what counts here is how many there are."""
        await conversation.begin_stream()
        num_tokens = answer["usage"]["completion_tokens"]
        for number in range(num_tokens):
            if conversation.request.hung_up.is_set():
                return
            reason = "length" if number == num_tokens - 1 else None
            choice = {"index": 0, "delta": {"content": "word "}, "text": "word ", "finish_reason": reason}
            await conversation.chunk(_event({"id": answer["id"], "model": answer["model"], "choices": [choice]}))
            if number >= num_tokens // 2:
                await asyncio.sleep(self.iteration_s)
        await conversation.chunk(_event({**answer, "choices": []}) + b"data: [DONE]\n\n")
        await conversation.end_stream()


class _Whole(Conversation):
    """Keeps the answer that would be sent."""

    def __init__(self, inner: Conversation) -> None:
        super().__init__(inner.request, inner._writer)
        self.body: bytes | None = None

    async def answer(self, status: int, body: bytes, headers: Any = ()) -> None:
        self.body = body


def _event(content: dict[str, Any]) -> bytes:
    return b"data: %s\n\n" % json.dumps(content).encode()


async def _serve(port: int) -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    async with SoakedVllm(port):
        print(f"listening {port}", flush=True)
        await told.wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
