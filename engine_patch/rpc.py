"""Two methods on vLLM's EngineCore, for the HTTP process to call.

vLLM runs a utility call between two steps of the engine, looked up by name on EngineCore, and returns what it raises as
an error to the caller: nothing here can stop the engine. Only plain values cross (ints, strings, lists, dictionaries).
"""

from typing import Any

STATE_METHOD = "justitia_state"
RERANK_METHOD = "justitia_rerank"


def _state(engine_core: Any, since: int) -> dict[str, Any]:
    state: dict[str, Any] = engine_core.scheduler.justitia.state(since)
    return state


def _rerank(engine_core: Any, ranks: dict[str, int]) -> int:
    reranked: int = engine_core.scheduler.justitia.rerank(ranks)
    return reranked


def install() -> None:
    """Add the methods. Idempotent; called from the engine's process, where EngineCore is already loaded."""
    from vllm.v1.engine.core import EngineCore

    setattr(EngineCore, STATE_METHOD, _state)
    setattr(EngineCore, RERANK_METHOD, _rerank)
