"""A scripted vLLM with a memory: calls hold KV tokens while they run, wait while it is full, and are accounted for.

Every iteration takes STEP_S. A call runs for its `max_tokens`; waiting ones are let in by priority, then arrival. A
prompt that holds BREAKS is answered by a reset, as by an engine that dies.
"""

import asyncio
import time
from dataclasses import dataclass, field

from tests.fakes.engine import Conversation, answers, resets
from tests.fakes.protocols.turns import Body, says
from tests.fakes.scripted_vllm import ScriptedVllm

STEP_S = 0.004
CAPACITY = 4096
BREAKS = "and then it breaks"


@dataclass(eq=False)
class _Running:
    call_id: str
    rank: int
    prompt_tokens: int
    max_tokens: int
    output_tokens: int = 0
    service: float = 0.0
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def held(self) -> int:
        return self.prompt_tokens + self.output_tokens


class ModelledVllm(ScriptedVllm):
    def __init__(self) -> None:
        super().__init__(says("word"))
        self.on_state = self._tell_state
        self._waiting: list[_Running] = []
        self._running: list[_Running] = []
        self._incarnation = time.time_ns()

    async def __aenter__(self) -> "ModelledVllm":
        await super().__aenter__()
        self._stepping = asyncio.create_task(self._step_for_ever())
        return self

    async def stop(self) -> None:
        self._stepping.cancel()
        await asyncio.gather(self._stepping, return_exceptions=True)
        await super().stop()

    async def _completion(self, conversation: Conversation, body: Body) -> None:
        if BREAKS in body["prompt"]:
            await resets(conversation)
            return
        request = conversation.request
        call = _Running(
            request.header("x-request-id") or "",
            int(request.header("x-vllm-priority") or 0),
            max(1, len(body["prompt"]) // 4),
            body["max_tokens"],
        )
        self._waiting.append(call)
        ends = [asyncio.create_task(event.wait()) for event in (call.done, request.hung_up)]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
            for calls in (self._waiting, self._running):
                if call in calls:
                    calls.remove(call)
        usage = {"prompt_tokens": call.prompt_tokens, "completion_tokens": call.output_tokens}
        content = {"id": call.call_id, "object": "text_completion", "model": "tiny", "choices": [], "usage": usage}
        await answers(content)(conversation)

    async def _step_for_ever(self) -> None:
        while True:
            await asyncio.sleep(STEP_S)
            self._waiting.sort(key=lambda call: call.rank)
            while self._waiting and self._free >= self._waiting[0].prompt_tokens + self._waiting[0].max_tokens:
                self._running.append(self._waiting.pop(0))
            for call in list(self._running):
                call.output_tokens += 1
                call.service += call.held
                self.service += call.held
                if call.output_tokens >= call.max_tokens:
                    self._end(call)

    def _end(self, call: _Running) -> None:
        self._running.remove(call)
        record = {
            "sequence": len(self.finished),
            "call_id": call.call_id,
            "service": call.service,
            "prompt_tokens": call.prompt_tokens,
            "cached_tokens": 0,
            "output_tokens": call.output_tokens,
            "preemptions": 0,
        }
        self.finished.append(record)
        call.done.set()

    @property
    def _free(self) -> int:
        return CAPACITY - sum(call.prompt_tokens + call.max_tokens for call in self._running)

    async def _tell_state(self, conversation: Conversation) -> None:
        since = int(conversation.request.path.partition("since=")[2])
        state = {
            "version": 1,
            "incarnation": self._incarnation,
            "policy": "priority",
            "service": self.service,
            "iterations": 1,
            "capacity_kv_tokens": CAPACITY,
            "free_kv_tokens": max(0, CAPACITY - sum(call.held for call in self._running)),
            "block_size": 16,
            "max_num_seqs": 64,
            "num_running": len(self._running),
            "num_waiting": len(self._waiting),
            "waiting_calls": [call.call_id for call in self._waiting],
            "preemptions": 0,
            "hook_failures": 0,
            "finished": self.finished[since:],
            "first_sequence": 0,
            "next_sequence": len(self.finished),
        }
        await answers(state)(conversation)
