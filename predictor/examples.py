"""An application that has ended: what was known at its first call, how it came along, and what it cost."""

from dataclasses import dataclass

from predictor.features import Features, Progress


@dataclass(frozen=True, slots=True)
class Example:
    features: Features
    cost: float
    """KV token-time, token·iterations; more than 0."""
    task: str = ""
    """Runs of one task are never in different folds; empty: a task of its own."""
    progress: tuple[Progress, ...] = ()
    """As its calls ended, in their order; not after the last of them."""
