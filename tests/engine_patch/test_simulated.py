"""The simulated engine: does what the real one does, step by step."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.tiny_model import ensure_tiny_model
from tests.engine_patch.scripted_engine import BLOCK_SIZE, MAX_NUM_SEQS, NUM_BLOCKS, TOKEN_BUDGET, due, script

ROOT = Path(__file__).parent.parent.parent


def simulated_trace(config: Any) -> list[dict[str, Any]]:
    from engine_patch.simulated import SimulatedEngine

    engine = SimulatedEngine(
        config,
        num_blocks=NUM_BLOCKS,
        block_size=BLOCK_SIZE,
        max_num_seqs=MAX_NUM_SEQS,
        token_budget=TOKEN_BUDGET,
        has_prefix_caching=True,
    )
    events: list[dict[str, Any]] = []

    def write(iteration: int, event: str, call_id: str, application_id: str, rank: int, **details: Any) -> None:
        events.append(
            {"iteration": iteration, "event": event, "call_id": call_id, "application_id": application_id, "rank": rank}
            | details
        )

    engine.trace_to(write)
    calls = script()
    while calls or engine.has_work:
        for call in due(calls, engine.num_steps, is_idle=not engine.has_work):
            engine.add(call.call_id, call.application_id, call.rank, call.prompt, call.max_tokens, float(call.at_step))
        engine.begin_step()
        engine.end_step()
    return events


@pytest.mark.engine
def test_it_decides_what_a_real_engine_decides(
    vllm_config: Any, structured_output_manager: Any, tmp_path: Path
) -> None:
    """Same calls at the same steps: every admission, preemption and end, in the same iteration, of the same call."""
    trace = tmp_path / "trace.jsonl"
    environment = {
        **os.environ,
        "JUSTITIA_ENGINE_TRACE": str(trace),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    program = [sys.executable, "-m", "tests.engine_patch.scripted_engine", str(ensure_tiny_model(tmp_path / "tiny"))]
    done = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    real = [json.loads(line) for line in trace.read_text().splitlines()]
    simulated = simulated_trace((vllm_config, structured_output_manager))
    assert {event["event"] for event in real} == {"added", "scheduled", "preempted", "finished"}
    assert simulated == real
