"""vLLM's scheduler with four hooks: a request arrives, a step is scheduled, a request is preempted, a request ends.

Every hook calls the base method with exactly what it was given and returns exactly what the base returned. Our own
part runs beside it, guarded: an exception there is logged once per hook, counted (`hook_failures` in the state), and
vLLM goes on as if the patch were not there.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from engine_patch import compat, rpc
from engine_patch.ledger import Ledger
from engine_patch.passing import Passing, passing_iterations
from engine_patch.ranks import priority_of, split_session
from engine_patch.trace import TRACE_VARIABLE, Trace

logger = logging.getLogger("vllm.justitia")
"""Under vLLM's own logger, whose handlers a server has set up."""


class JustitiaScheduler(AsyncScheduler):  # type: ignore[misc]  # vLLM is untyped here
    is_toy = False
    """True for throw-away schedulers (self-test, benchmark): no self-test, no trace, nothing set on the engine."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._failed_hooks: set[str] = set()
        self.passing: Passing | None = None
        if self.is_toy:
            self.justitia = Ledger(self)
            return
        compat.verify(type(self), self.vllm_config, self.structured_output_manager)
        if self.policy.value != "priority":
            logger.warning(
                "Justitia: ranks are ignored without --scheduling-policy priority; only the account is kept."
            )
        self.let_pass(passing_iterations(os.environ))
        trace_path = os.environ.get(TRACE_VARIABLE)
        self.justitia = Ledger(self, Trace(Path(trace_path)) if trace_path else None)
        rpc.install()

    def let_pass(self, most_iterations: int) -> None:
        """For so many iterations after one was refused for want of memory; 0: never."""
        by_rank = self.policy.value == "priority"
        self.passing = Passing(self, most_iterations) if most_iterations and by_rank else None

    def add_request(self, request: Any) -> None:
        # A bare int among tuples cannot be compared and would bring the engine down: this is outside the guard, and
        # total (see `priority_of`).
        request.priority = priority_of(request.priority, split_session(request.session_id)[0])
        if request.request_id not in self.requests:
            self._guarded("add_request", self.justitia.added, request)
        super().add_request(request)

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        if self.passing is None:
            output = super().schedule(*args, **kwargs)
        else:
            self._guarded("pass", self.passing.before)
            num_preempted = self.justitia.num_preemptions
            output = super().schedule(*args, **kwargs)
            self._guarded("restore", self.passing.restore)
            self._guarded("refusal", self._note_refusal, self.passing, output, num_preempted)
        self._guarded("schedule", self.justitia.scheduled, output)
        return output

    def _preempt_request(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        self._guarded("preempt", self.justitia.preempted, request)
        return super()._preempt_request(request, *args, **kwargs)

    def _connector_finished(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        # Every request that ends passes here once, aborted ones included, before its blocks are freed.
        self._guarded("finish", self.justitia.finished, request)
        if self.passing is not None:
            self._guarded("forget", self.passing.ended, request)
        return super()._connector_finished(request, *args, **kwargs)

    def _note_refusal(self, passing: Passing, output: Any, num_preempted: int) -> None:
        """Whoever is first in order now waits for memory, if the scheduling just done would have admitted another, had
        there been memory for it. (One that preempts admits nobody.)"""
        scheduler: Any = self
        # Newer than the oldest vLLM that is supported.
        most_active: Any = getattr(scheduler, "max_num_active_reqs", scheduler.max_num_running_reqs)
        passing.note_refusal(
            self.justitia.num_preemptions == num_preempted
            and output.total_num_scheduled_tokens < scheduler.max_num_scheduled_tokens
            and len(self.running) < most_active
        )

    def _guarded(self, hook: str, note: Callable[..., None], *arguments: Any) -> None:
        try:
            note(*arguments)
        except Exception:
            self.justitia.num_hook_failures += 1
            if hook not in self._failed_hooks:
                self._failed_hooks.add(hook)
                logger.exception("Justitia: the hook on %s failed; vLLM goes on. Further failures are counted.", hook)
