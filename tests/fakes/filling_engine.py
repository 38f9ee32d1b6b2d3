"""A fake vLLM with a memory that fills: calls are admitted by rank while their prompts fit, grow by a token an
iteration, wait inside where they do not fit, and are accounted for when they end. Its time is real and its tokens are
numbers.

A call says how long it is by the length of its prompt (a token is four characters) and `max_tokens`.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

from tests.fakes.engine import COMPLETION, Conversation, FakeVllm, Received, Script, answers


@dataclass
class _Held:
    call_id: str
    rank: int
    prompt_tokens: int
    output_tokens: int
    done: asyncio.Event = field(default_factory=asyncio.Event)
    num_made: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.num_made


class FillingVllm(FakeVllm):
    def __init__(self, capacity: int = 8192, *, max_num_seqs: int = 16, iteration_s: float = 0.02) -> None:
        super().__init__()
        self.capacity = capacity
        self.max_num_seqs = max_num_seqs
        self.iteration_s = iteration_s
        self.is_paused = False
        """Nothing is made and nothing ends."""
        self.running: list[_Held] = []
        self.waiting: list[_Held] = []
        self.num_preemptions = 0
        self.on_call = self._hold
        self._turning: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "FillingVllm":
        await super().__aenter__()
        self._turning = asyncio.create_task(self._turn_for_ever())
        return self

    async def stop(self) -> None:
        if self._turning is not None:
            self._turning.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._turning
        await super().stop()

    async def _hold(self, conversation: Conversation) -> None:
        request = conversation.request
        body = request.json()
        prompt_tokens = max(1, len(str(body.get("messages", body.get("prompt")))) // 4)
        held = _Held(
            request.header("x-request-id") or "",
            int(request.header("x-vllm-priority") or 0),
            prompt_tokens,
            int(body.get("max_tokens", 64)),
        )
        self.waiting.append(held)
        try:
            await _first(held.done.wait(), request.hung_up.wait())
        finally:
            self._end(held)
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": held.num_made}
        await answers({**COMPLETION, "usage": {**usage, "total_tokens": held.tokens}})(conversation)

    async def _turn_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self.iteration_s)
            if not self.is_paused:
                self._turn()

    def _turn(self) -> None:
        self.waiting.sort(key=lambda held: held.rank)
        while (
            self.waiting
            and len(self.running) < self.max_num_seqs
            and self._used + self.waiting[0].tokens < self.capacity
        ):
            self.running.append(self.waiting.pop(0))
        while self._used + len(self.running) > self.capacity:
            self.preempt()
        for held in self.running:
            held.num_made += 1
            self.service += held.tokens
            if held.num_made >= held.output_tokens:
                held.done.set()

    def preempt(self) -> None:
        """The one of the largest rank waits again."""
        victim = max(self.running, key=lambda held: held.rank)
        self.running.remove(victim)
        self.waiting.append(victim)
        self.num_preemptions += 1

    @property
    def _used(self) -> int:
        return sum(held.tokens for held in self.running)

    def _end(self, held: _Held) -> None:
        for queue in (self.running, self.waiting):
            if held in queue:
                queue.remove(held)
        made = held.num_made
        self.finished.append(
            {
                "sequence": len(self.finished),
                "call_id": held.call_id,
                "service": float(held.prompt_tokens * made + made * (made + 1) / 2),
                "prompt_tokens": held.prompt_tokens,
                "cached_tokens": 0,
                "output_tokens": made,
                "preemptions": 0,
            }
        )

    def _patched_route(self, request: Received, path: str) -> Script:
        if path != "/justitia/state" or self.on_state is not None:
            return super()._patched_route(request, path)
        since = int(request.path.partition("since=")[2])
        return answers(
            {
                "version": 1,
                "incarnation": self._incarnation,
                "policy": "priority",
                "service": float(self.service),
                "iterations": time.monotonic_ns(),
                "capacity_kv_tokens": self.capacity,
                "free_kv_tokens": max(0, self.capacity - self._used),
                "block_size": 16,
                "max_num_seqs": self.max_num_seqs,
                "num_running": len(self.running),
                "num_waiting": len(self.waiting),
                "waiting_calls": [held.call_id for held in self.waiting],
                "preemptions": self.num_preemptions,
                "hook_failures": 0,
                "finished": self.finished[since:],
                "first_sequence": 0,
                "next_sequence": len(self.finished),
            }
        )


async def _first(*works: object) -> None:
    tasks = [asyncio.ensure_future(work) for work in works]  # type: ignore[call-overload]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
