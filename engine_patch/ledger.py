"""What the patch knows of one engine: who is in it, what each has held, who has left. The scheduler's hooks feed it,
the HTTP routes read it.

Everything here runs in the engine's own thread, between or inside its steps; nothing needs a lock.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine_patch.accounting import KvAccount
from engine_patch.block_tables import BlockTables
from engine_patch.ranks import call_id_in, priority_of, split_session
from engine_patch.records import FinishedRecord, FinishedRing
from engine_patch.trace import Trace

STATE_VERSION = 1
MAX_WAITING_CALLS = 256
WAITING_QUEUES = ("waiting", "skipped_waiting", "kv_holding_waiting")
"""vLLM's waiting queues: the second one was renamed in 0.31, and what it holds with it."""


@dataclass(slots=True)
class _LiveRequest:
    call_id: str
    application_id: str
    cached_tokens: int | None = None
    """Prompt tokens found in the prefix cache; None until it is first scheduled."""


class Ledger:
    def __init__(self, scheduler: Any, trace: Trace | None = None) -> None:
        self._scheduler = scheduler
        num_groups = max(1, len(scheduler.kv_cache_config.kv_cache_groups))
        # One token's KV takes a block's share in every group: a block is worth its tokens over the number of groups.
        self.account = KvAccount(tokens_per_block=scheduler.block_size / num_groups)
        self._tables = BlockTables.of(scheduler.kv_cache_manager, self.account)
        self._live: dict[str, _LiveRequest] = {}
        self.finished_ring = FinishedRing()
        self.trace = trace
        self.incarnation = time.time_ns()
        self.num_preemptions = 0
        self.num_hook_failures = 0

    # --- what the scheduler's hooks report ---------------------------------------------------------------------------

    def added(self, request: Any) -> None:
        """A request arrives. Its session id loses the call id that a route may have put there."""
        application_id, call_id = split_session(request.session_id)
        if call_id:
            request.session_id = application_id
        live = _LiveRequest(call_id or call_id_in(request.request_id), application_id)
        self._live[request.request_id] = live
        if self.trace:
            self.trace.write(self.account.iterations, "added", *self._who(request))

    def scheduled(self, output: Any) -> None:
        """One scheduling is decided: note the new blocks, and let the iteration pass if it does any work."""
        first_timers = []
        for new in output.scheduled_new_reqs:
            live = self._live.get(new.req_id)
            if live is not None and live.cached_tokens is None:
                live.cached_tokens = new.num_computed_tokens
                first_timers.append(new.req_id)
        if self.trace and first_timers:
            self._trace_scheduled(first_timers)
        self._tables.follow(output.num_scheduled_tokens)
        if output.num_scheduled_tokens:
            self.account.tick()

    def preempted(self, request: Any) -> None:
        """vLLM has chosen this victim and is about to take its blocks."""
        self.num_preemptions += 1
        if self.trace:
            # vLLM takes the victim off `running` before it asks us in.
            running = [request, *(other for other in self._scheduler.running if other is not request)]
            pairs = [[self._who(other)[0], self._who(other)[2]] for other in running]
            self.trace.write(self.account.iterations, "preempted", *self._who(request), running=pairs)
        self._tables.let_go(request.request_id)

    def finished(self, request: Any) -> None:
        """The request ends, in whatever way; its blocks are still its own."""
        live = self._live.pop(request.request_id, None) or _identify(request)
        self._tables.let_go(request.request_id)
        self.finished_ring.append(
            FinishedRecord(
                sequence=self.finished_ring.end,
                call_id=live.call_id,
                application_id=live.application_id,
                service=self.account.close(request.request_id),
                prompt_tokens=request.num_prompt_tokens,
                cached_tokens=live.cached_tokens or 0,
                output_tokens=request.num_output_tokens,
                preemptions=request.num_preemptions,
                reason=str(request.get_finished_reason()),
            )
        )
        if self.trace:
            rank = priority_of(*_rank_and_session(request))[0]
            self.trace.write(self.account.iterations, "finished", live.call_id, live.application_id, rank)

    # --- what the routes ask -----------------------------------------------------------------------------------------

    def state(self, since: int) -> dict[str, Any]:
        """The whole state, as plain values, with the finished records from sequence number `since` on."""
        scheduler = self._scheduler
        pool = scheduler.kv_cache_manager.block_pool
        tokens_per_block = self.account.tokens_per_block
        num_running, num_waiting = scheduler.get_request_counts()
        finished, next_sequence = self.finished_ring.since(since)
        return {
            "version": STATE_VERSION,
            "incarnation": self.incarnation,
            "policy": scheduler.policy.value,
            "service": self.account.total,
            "iterations": self.account.iterations,
            # One block of the pool is the null block: it is never held and never free.
            "capacity_kv_tokens": int((pool.num_gpu_blocks - 1) * tokens_per_block),
            "free_kv_tokens": int(pool.get_num_free_blocks() * tokens_per_block),
            "block_size": scheduler.block_size,
            "max_num_seqs": scheduler.max_num_running_reqs,
            "num_running": num_running,
            "num_waiting": num_waiting,
            "waiting_calls": self._waiting_calls(),
            "preemptions": self.num_preemptions,
            "passed": scheduler.passing.num_passed if scheduler.passing is not None else 0,
            "hook_failures": self.num_hook_failures,
            "finished": finished,
            "first_sequence": self.finished_ring.first,
            "next_sequence": next_sequence,
        }

    def rerank(self, ranks: Mapping[str, int]) -> int:
        """Give all live requests of these applications their new rank; returns how many there were."""
        reranked = []
        for request in self._scheduler.requests.values():
            rank = ranks.get(request.session_id or "")
            if rank is not None and not request.is_finished():
                request.priority = priority_of(rank, request.session_id)
                reranked.append(request)
        if reranked:
            for queue in self._waiting_queues():
                # Removing nothing makes vLLM rebuild the queue's heap, which the new ranks have put out of order.
                queue.remove_requests(())
        if self.trace:
            for request in reranked:
                self.trace.write(self.account.iterations, "reranked", *self._who(request))
        return len(reranked)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _waiting_queues(self) -> Iterable[Any]:
        queues = (getattr(self._scheduler, name, None) for name in WAITING_QUEUES)
        return [queue for queue in queues if queue is not None]

    def _waiting(self) -> list[Any]:
        running = {request.request_id for request in self._scheduler.running}
        requests = self._scheduler.requests
        return [r for r in requests.values() if r.request_id not in running and not r.is_finished()]

    def _waiting_calls(self) -> list[str]:
        """Ids of our calls that wait in the engine, the first in order if there are too many to tell."""
        waiting = self._waiting()
        if len(waiting) > MAX_WAITING_CALLS:
            # By key: tuples compare three times faster than vLLM's requests do.
            waiting = sorted(waiting, key=lambda request: (request.priority, request.arrival_time))[:MAX_WAITING_CALLS]
        known = (self._live.get(request.request_id) for request in waiting)
        return [live.call_id for live in known if live is not None and live.call_id]

    def _trace_scheduled(self, request_ids: list[str]) -> None:
        assert self.trace is not None
        deferred = getattr(self._scheduler, "deferred_waiting", ())
        ranks = [self._who(r)[2] for r in self._waiting() if r not in deferred]
        best_waiting = min(ranks, default=None)
        for request_id in request_ids:
            who = self._who(self._scheduler.requests[request_id])
            self.trace.write(self.account.iterations, "scheduled", *who, best_waiting=best_waiting)

    def _who(self, request: Any) -> tuple[str, str, int]:
        """(call id, application id, rank) for the trace."""
        live = self._live.get(request.request_id) or _identify(request)
        return live.call_id, live.application_id, priority_of(*_rank_and_session(request))[0]


def _identify(request: Any) -> _LiveRequest:
    """A request that the ledger never saw arrive (that hook failed)."""
    application_id, call_id = split_session(request.session_id)
    return _LiveRequest(call_id or call_id_in(request.request_id), application_id)


def _rank_and_session(request: Any) -> tuple[object, str | None]:
    priority = request.priority
    return (priority[0] if isinstance(priority, tuple) else priority), request.session_id
