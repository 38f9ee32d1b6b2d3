"""Limits → admit or refuse. What is refused here was never queued."""

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.scheduling.engine_window import EngineWindow
from gateway.scheduling.model import Call, Refusal


@dataclass(frozen=True, slots=True)
class Limits:
    max_queued_calls: int
    max_queued_bytes: int


@dataclass(slots=True)
class Load:
    """What waits in this gateway now."""

    num_calls: int = 0
    num_bytes: int = 0
    is_short_of_memory: bool = False
    """The process is. Nothing new is taken then, as long as anything is here that may give memory back."""
    is_draining: bool = False


def has_memory(call: Call, load: Load, limits: Limits) -> bool:
    """For its body, beside those that wait."""
    return load.num_bytes + call.body_bytes <= limits.max_queued_bytes


def refusal(call: Call, now: float, load: Load, limits: Limits, engines: Iterable[EngineWindow]) -> Refusal | None:
    """Why this call cannot be queued, or None, if there is memory for it (`has_memory`)."""
    if load.is_draining:
        return Refusal.SHUTTING_DOWN
    if call.deadline_at <= now:
        return Refusal.QUEUE_TIMEOUT
    if load.num_calls >= limits.max_queued_calls or call.body_bytes > limits.max_queued_bytes:
        return Refusal.QUEUE_FULL
    known = list(engines)
    serving = [engine for engine in known if call.model in engine.models]
    if not serving and all(engine.is_up for engine in known):
        return Refusal.MODEL_NOT_FOUND
    # A prompt's length is only estimated here, and the engine refuses those too long for the model by itself; what the
    # client asks to be written is exact, and could never be held.
    if serving and (call.max_tokens or 0) > max(engine.capacity_kv_tokens for engine in serving):
        return Refusal.COST_EXCEEDS_CAPACITY
    return None
