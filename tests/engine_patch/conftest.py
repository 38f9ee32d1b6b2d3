"""Schedulers to drive without a model."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def make_scheduler(vllm_config: Any, structured_output_manager: Any) -> Callable[..., Any]:
    """Builds vLLM's real scheduler with our hooks, without a model. `num_blocks` includes the null block."""

    def make(scheduler_class: Any = None, **sizes: Any) -> Any:
        from engine_patch.scheduler import JustitiaScheduler
        from engine_patch.toy import toy_scheduler

        chosen = type("ToyScheduler", (scheduler_class or JustitiaScheduler,), {"is_toy": True})
        return toy_scheduler(chosen, vllm_config, structured_output_manager, **{"block_size": 4, **sizes})

    return make
