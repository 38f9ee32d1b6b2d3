"""A whole engine in virtual time: vLLM's real scheduler and KV manager with our hooks, and no model.

What a step costs in seconds is the caller's affair: `begin_step` decides the step and says how much work is in it,
`end_step` hands the made-up model's tokens back when that time has passed. Calls may be added in between, as they may
in a server; the next step sees them.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm.v1.core.sched.output import SchedulerOutput

from engine_patch.scheduler import JustitiaScheduler
from engine_patch.toy import PLAIN_TOKEN, finish_step, toy_request, toy_scheduler

__all__ = ["PLAIN_TOKEN", "SimulatedEngine", "StepEnd", "StepWork", "load_config"]


class _Scheduler(JustitiaScheduler):
    is_toy = True


@dataclass(frozen=True, slots=True)
class StepWork:
    """One step's work: what its time depends on."""

    num_tokens: int
    """Computed: prompts' and one for each answer."""
    num_kv_tokens: int
    """Read: all tokens that the scheduled requests have in memory."""


@dataclass(frozen=True, slots=True)
class StepEnd:
    answering: tuple[str, ...]
    """Calls whose first token came."""
    finished: tuple[str, ...]


def load_config(model_folder: str) -> tuple[Any, Any]:
    """What a vLLM server would configure itself with for this model: takes seconds, serves any number of engines."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # vLLM's imports warn of their own affairs
        from vllm.engine.arg_utils import EngineArgs
        from vllm.v1.structured_output import StructuredOutputManager

        config = EngineArgs(
            model=model_folder, load_format="dummy", scheduling_policy="priority", max_model_len=4096
        ).create_engine_config()
        return config, StructuredOutputManager(config)


class SimulatedEngine:
    def __init__(
        self,
        config: tuple[Any, Any],
        *,
        num_blocks: int,
        block_size: int,
        max_num_seqs: int,
        token_budget: int,
        has_prefix_caching: bool,
        passing_iterations: int = 0,
    ) -> None:
        """`num_blocks` can all be held: the null block is added. `config`: from `load_config`. `passing_iterations`:
        as in `engine_patch.passing`."""
        self._block_size = block_size
        self._has_prefix_caching = has_prefix_caching
        scheduler: Any = toy_scheduler(
            _Scheduler,
            *config,
            num_blocks=num_blocks + 1,
            block_size=block_size,
            max_num_seqs=max_num_seqs,
            token_budget=token_budget,
            has_prefix_caching=has_prefix_caching,
        )
        scheduler.let_pass(passing_iterations)
        self._scheduler = scheduler
        self._step: SchedulerOutput | None = None
        self._silent: set[str] = set()
        """Calls that have not answered yet."""
        self._admitted: dict[str, int] = {}
        """Live calls that have run, with the iteration of their latest admission: preempted, they wait again."""
        self.num_steps = 0
        self.longest_stay = 0
        """Of all ended calls: iterations from its latest admission to its end."""

    @property
    def has_work(self) -> bool:
        return bool(self._scheduler.has_unfinished_requests())

    @property
    def service(self) -> float:
        """Delivered so far, token·iterations."""
        return float(self._scheduler.justitia.account.total)

    @property
    def mean_kv_use(self) -> float:
        """Share of the memory that was held, over all iterations."""
        account, pool = self._scheduler.justitia.account, self._scheduler.kv_cache_manager.block_pool
        capacity = (pool.num_gpu_blocks - 1) * account.tokens_per_block
        return float(account.total / (capacity * account.iterations)) if account.iterations else 0.0

    def live_service(self) -> dict[str, float]:
        """By application: what its live calls have had so far, token·iterations."""
        ledger = self._scheduler.justitia
        service: dict[str, float] = {}
        for request in self._scheduler.requests.values():
            had = ledger.account.service(request.request_id)
            service[request.session_id] = service.get(request.session_id, 0.0) + had
        return service

    def trace_to(self, write: Callable[..., None]) -> None:
        """Tell `write` every decision, as `engine_patch.trace` has them."""
        self._scheduler.justitia.trace = _Recorder(write)

    def add(
        self, call_id: str, application_id: str, rank: int, prompt: Sequence[int], max_tokens: int, now: float
    ) -> None:
        request = toy_request(
            call_id,
            prompt,
            max_tokens,
            priority=rank,
            session_id=application_id,
            arrival_time=now,
            block_size=self._block_size if self._has_prefix_caching else None,
        )
        self._silent.add(call_id)
        self._scheduler.add_request(request)

    def rerank(self, ranks: Mapping[str, int]) -> None:
        self._scheduler.justitia.rerank(ranks)

    def begin_step(self) -> StepWork:
        assert self._step is None
        self._step = output = self._scheduler.schedule()
        self.num_steps += 1
        requests, now = self._scheduler.requests, self._scheduler.justitia.account.iterations
        for new in output.scheduled_new_reqs:
            self._admitted[new.req_id] = now
        for request_id in output.scheduled_cached_reqs.resumed_req_ids:
            self._admitted[request_id] = now
        held = sum(requests[request_id].num_computed_tokens for request_id in output.num_scheduled_tokens)
        return StepWork(output.total_num_scheduled_tokens, held)

    def end_step(self) -> StepEnd:
        assert self._step is not None
        before = self._scheduler.justitia.finished_ring.end
        finish_step(self._scheduler, self._step)
        scheduled, self._step = self._step.num_scheduled_tokens, None
        finished = tuple(self._finished_since(before))
        ended = set(finished)
        answering = tuple(
            call_id
            for call_id in scheduled
            if call_id in self._silent and (call_id in ended or self._has_answered(call_id))
        )
        self._silent.difference_update(answering)
        now = self._scheduler.justitia.account.iterations
        for call_id in finished:
            self.longest_stay = max(self.longest_stay, now - self._admitted.pop(call_id, now) + 1)
        return StepEnd(answering, finished)

    def state(self, since: int) -> dict[str, Any]:
        state: dict[str, Any] = self._scheduler.justitia.state(since)
        return state

    def _finished_since(self, sequence: int) -> Iterable[str]:
        while True:
            records, following = self._scheduler.justitia.finished_ring.since(sequence)
            if not records:
                return
            yield from (record["call_id"] for record in records)
            sequence = following

    def _has_answered(self, call_id: str) -> bool:
        return bool(self._scheduler.requests[call_id].num_output_tokens > 0)


class _Recorder:
    def __init__(self, write: Callable[..., None]) -> None:
        self.write = write
