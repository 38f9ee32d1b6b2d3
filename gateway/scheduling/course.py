"""The course of one application: what was predicted, how far it has come, and what is worth keeping of that. Pure."""

from collections.abc import Mapping

from gateway.fairness.units import KvTokenTime, Tokens
from gateway.ports import ClosedApplication, Prediction, Progress

WORTH_REVISING = 1.5
"""Times more or less. With smaller changes the order moves more often and nobody is done sooner
(benchmarks/results/refining.json)."""

KEPT_AFTER = frozenset((1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128))
"""Ended calls after which progress is kept: enough to learn from, and few for an application of thousands."""


class Course:
    def __init__(self, first: Prediction) -> None:
        self.first = first
        """Before any of its calls had ended: what errors are measured by."""
        self._open: dict[str, Tokens] = {}
        self._num_ended = 0
        self._kept: dict[int, Progress] = {}
        self._is_new = False

    def call_began(self, call_id: str, prompt_tokens: Tokens) -> None:
        self._open[call_id] = prompt_tokens
        self._is_new = True

    def call_ended(self, call_id: str) -> None:
        """Settled: what it held is in the application's service."""
        if self._open.pop(call_id, None) is not None:
            self._num_ended += 1
            self._is_new = True

    def call_left(self, call_id: str) -> None:
        """Never dispatched: it says nothing."""
        self._open.pop(call_id, None)

    @property
    def may_be_told_anew(self) -> bool:
        """There may be something to predict again or to refine: of thousands that are open and idle, of none."""
        return self.is_guess or self._has_progressed

    @property
    def _has_progressed(self) -> bool:
        return bool(self._is_new and self._num_ended and self._open)

    def progress(self, service: KvTokenTime) -> Progress | None:
        """Where it stands with `service`; None if that is what it was when this was last asked, or before its first
        call has ended, or while no call is open: whether another will come is not known then."""
        if not self._has_progressed:
            return None
        self._is_new = False
        progress = Progress(self._num_ended, len(self._open), Tokens(sum(self._open.values())), service)
        if self._num_ended in KEPT_AFTER:
            self._kept[self._num_ended] = progress
        return progress

    @property
    def is_guess(self) -> bool:
        """It goes by a mean, or by nothing at all, and none of its calls has ended."""
        return self.first.predictor in ("mean", "default") and not self._num_ended

    @property
    def awaits_first_call(self) -> bool:
        """Declared ahead of its calls, and not with a cost: what is predicted goes by its kind alone."""
        return self.is_guess and self.first.basis is None and not self._open

    @property
    def kept(self) -> tuple[Progress, ...]:
        return tuple(self._kept.values())

    def closed(self, kind: str, cost: KvTokenTime, features: Mapping[str, object], now: float) -> ClosedApplication:
        """What is kept of it, now that it has cost `cost`."""
        first = self.first
        return ClosedApplication(
            now, kind, first.cost, first.low, first.high, first.predictor, cost, features, self.kept
        )


def is_worth_revising(refined: KvTokenTime, in_force: KvTokenTime, factor: float = WORTH_REVISING) -> bool:
    """Whether an estimate has changed by so much that the order should follow."""
    return max(refined, in_force) >= factor * min(refined, in_force)
