"""vLLM's own configuration of a tiny model, made once; and schedulers to drive with it."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.tiny_model import ensure_tiny_model


@pytest.fixture(scope="session")
def vllm_config(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if os.environ.get("CI") is None:
        pytest.importorskip("vllm", reason="the engine is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # vLLM's imports warn of their own affairs
        from vllm.engine.arg_utils import EngineArgs

        folder = ensure_tiny_model(Path(tmp_path_factory.mktemp("model")) / "tiny")
        return EngineArgs(
            model=str(folder), load_format="dummy", scheduling_policy="priority", max_model_len=4096, block_size=32
        ).create_engine_config()


@pytest.fixture(scope="session")
def structured_output_manager(vllm_config: Any) -> Any:
    from vllm.v1.structured_output import StructuredOutputManager

    return StructuredOutputManager(vllm_config)


@pytest.fixture
def make_scheduler(vllm_config: Any, structured_output_manager: Any) -> Callable[..., Any]:
    """Builds vLLM's real scheduler with our hooks, without a model. `num_blocks` includes the null block."""

    def make(scheduler_class: Any = None, **sizes: Any) -> Any:
        from engine_patch.scheduler import JustitiaScheduler
        from engine_patch.toy import toy_scheduler

        chosen = type("ToyScheduler", (scheduler_class or JustitiaScheduler,), {"is_toy": True})
        return toy_scheduler(chosen, vllm_config, structured_output_manager, **{"block_size": 4, **sizes})

    return make
