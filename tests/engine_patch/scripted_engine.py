"""Run as a program: a real vLLM engine with the tiny model in this one process, fed at given steps. The simulated
engine is fed by the same script.

    python -m tests.engine_patch.scripted_engine MODEL_FOLDER        the trace goes where JUSTITIA_ENGINE_TRACE says
"""

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass

BLOCK_SIZE = 32
NUM_BLOCKS = 64
MAX_NUM_SEQS = 4
TOKEN_BUDGET = 256
"""Less than some prompts have: they are prefilled in pieces."""


@dataclass(frozen=True)
class ScriptedCall:
    at_step: int
    call_id: str
    application_id: str
    rank: int
    prompt: tuple[int, ...]
    max_tokens: int


def script() -> list[ScriptedCall]:
    """Memory runs out, ranks are mixed, some prompts share a beginning, and calls come while others run."""
    draw = random.Random(7)
    shared = tuple(draw.randrange(3, 2000) for _ in range(96))
    calls = []
    for number in range(24):
        own = tuple(draw.randrange(3, 2000) for _ in range(draw.randrange(20, 400)))
        prompt = shared + own if draw.random() < 0.5 else own
        rank, max_tokens = draw.randrange(10), draw.randrange(50, 500)
        call_id = f"call-{number:032x}"
        calls.append(
            ScriptedCall(40 * number * draw.randrange(2), call_id, f"app-{number % 5}", rank, prompt, max_tokens)
        )
    return sorted(calls, key=lambda call: (call.at_step, call.call_id))


def due(calls: list[ScriptedCall], num_steps: int, *, is_idle: bool) -> Iterator[ScriptedCall]:
    """Takes from `calls` those whose step has come; the next one at once if there is nothing else to do."""
    while calls and (calls[0].at_step <= num_steps or is_idle):
        is_idle = False
        yield calls.pop(0)


def main(model_folder: str) -> None:
    from vllm import SamplingParams
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    engine = LLMEngine.from_engine_args(
        EngineArgs(
            model=model_folder,
            load_format="dummy",
            enforce_eager=True,
            block_size=BLOCK_SIZE,
            num_gpu_blocks_override=NUM_BLOCKS + 1,
            max_num_seqs=MAX_NUM_SEQS,
            max_num_batched_tokens=TOKEN_BUDGET,
            max_model_len=1024,
            scheduling_policy="priority",
            scheduler_cls="engine_patch.scheduler.JustitiaScheduler",
            distributed_executor_backend="uni",
        )
    )
    calls, num_steps = script(), 0
    while calls or engine.has_unfinished_requests():
        for call in due(calls, num_steps, is_idle=not engine.has_unfinished_requests()):
            engine.add_request(
                f"cmpl-{call.call_id}-0",
                {"prompt_token_ids": list(call.prompt)},
                SamplingParams(max_tokens=call.max_tokens, ignore_eos=True, detokenize=False),
                arrival_time=float(call.at_step),
                priority=call.rank,
                session_id=call.application_id,
            )
        engine.step()
        num_steps += 1


if __name__ == "__main__":
    main(sys.argv[1])
