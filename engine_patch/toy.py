"""A scheduler without a model: vLLM's real scheduler and KV manager, made-up tokens, no GPU, no weights.

The self-test at load drives one of these, and so do the tests and the benchmark. Nothing here touches the engine it may
run inside: configurations are shallow copies, and block hashes are its own.
"""

import copy
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from vllm.sampling_params import SamplingParams
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec, KVCacheSpec
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request

PLAIN_TOKEN = 7
"""What the made-up model says, always."""


def full_attention(block_size: int) -> FullAttentionSpec:
    return FullAttentionSpec(block_size=block_size, num_kv_heads=1, head_size=8, dtype=torch.float32)


def toy_config(
    vllm_config: Any,
    *,
    num_blocks: int,
    block_size: int,
    max_num_seqs: int,
    token_budget: int,
    has_prefix_caching: bool,
) -> Any:
    """A copy of an engine's configuration that describes a small, plain, text-only engine with priority policy."""
    config = copy.copy(vllm_config)
    config.scheduler_config = copy.copy(vllm_config.scheduler_config)
    config.cache_config = copy.copy(vllm_config.cache_config)
    config.parallel_config = copy.copy(vllm_config.parallel_config)
    config.observability_config = copy.copy(vllm_config.observability_config)
    config.model_config = copy.copy(vllm_config.model_config)
    _set(
        config,
        speculative_config=None,
        lora_config=None,
        kv_transfer_config=None,
        ec_transfer_config=None,
        kv_events_config=None,
    )
    _set(
        config.scheduler_config,
        policy="priority",
        max_num_seqs=max_num_seqs,
        max_num_active_seqs=None,
        max_num_batched_tokens=token_budget,
        max_num_scheduled_tokens=None,
        long_prefill_token_threshold=0,
        enable_chunked_prefill=True,
        watermark=0.0,
    )
    _set(
        config.cache_config, num_gpu_blocks=num_blocks, block_size=block_size, enable_prefix_caching=has_prefix_caching
    )
    _set(
        config.parallel_config,
        pipeline_parallel_size=1,
        decode_context_parallel_size=1,
        prefill_context_parallel_size=1,
    )
    _set(config.observability_config, kv_cache_metrics=False, enable_mfu_metrics=False)
    _set(config.model_config, multimodal_config=None, max_model_len=num_blocks * block_size)
    return config


def _set(target: Any, **values: Any) -> None:
    """Set what this version of vLLM has. Past `setattr`, which some of its configurations validate."""
    for name, value in values.items():
        if hasattr(target, name):
            object.__setattr__(target, name, value)


def toy_scheduler(
    scheduler_class: type[AsyncScheduler],
    vllm_config: Any,
    structured_output_manager: Any,
    *,
    num_blocks: int,
    block_size: int,
    max_num_seqs: int = 8,
    token_budget: int = 512,
    has_prefix_caching: bool = True,
    specs: Sequence[KVCacheSpec] = (),
) -> AsyncScheduler:
    """`num_blocks` counts the null block; `specs` gives one KV group each (default: one full-attention group)."""
    groups = [
        KVCacheGroupSpec([f"layer.{index}"], spec) for index, spec in enumerate(specs or (full_attention(block_size),))
    ]
    return scheduler_class(
        vllm_config=toy_config(
            vllm_config,
            num_blocks=num_blocks,
            block_size=block_size,
            max_num_seqs=max_num_seqs,
            token_budget=token_budget,
            has_prefix_caching=has_prefix_caching,
        ),
        kv_cache_config=KVCacheConfig(num_blocks=num_blocks, kv_cache_tensors=[], kv_cache_groups=groups),
        structured_output_manager=structured_output_manager,
        block_size=block_size,
    )


def toy_request(
    request_id: str,
    prompt: Sequence[int],
    max_tokens: int,
    *,
    priority: Any = 0,
    session_id: str | None = None,
    arrival_time: float = 0.0,
    block_size: int | None,
) -> Request:
    """`block_size` None: its blocks get no hashes, and are shared with nobody."""
    return Request(
        request_id=request_id,
        prompt_token_ids=list(prompt),
        sampling_params=SamplingParams(max_tokens=max_tokens, ignore_eos=True),
        pooling_params=None,
        arrival_time=arrival_time,
        priority=priority,
        session_id=session_id,
        block_hasher=None if block_size is None else _block_hasher(block_size),
    )


def _block_hasher(block_size: int) -> Callable[[Request], list[Any]]:
    """Hashes of full blocks, chained. Not vLLM's own: that one reads a process-wide seed the engine sets later."""

    def hash_new_blocks(request: Request) -> list[Any]:
        tokens = request.all_token_ids
        previous = request.block_hashes[-1] if request.block_hashes else b""
        hashes = []
        for start in range(len(request.block_hashes) * block_size, len(tokens) - block_size + 1, block_size):
            content = repr(tokens[start : start + block_size]).encode()
            previous = hashlib.sha256(previous + content).digest()
            hashes.append(previous)
        return hashes

    return hash_new_blocks


def step(scheduler: AsyncScheduler) -> SchedulerOutput:
    """One engine iteration: schedule, and let the made-up model answer."""
    output = scheduler.schedule()
    finish_step(scheduler, output)
    return output


def finish_step(scheduler: AsyncScheduler, output: SchedulerOutput) -> None:
    """The made-up model's answer to one scheduling: a token for whoever has its whole prompt in."""
    request_ids = list(output.num_scheduled_tokens)
    answer = ModelRunnerOutput(
        req_ids=request_ids,
        req_id_to_index={request_id: index for index, request_id in enumerate(request_ids)},
        sampled_token_ids=[_sampled(scheduler.requests.get(request_id)) for request_id in request_ids],
    )
    scheduler.update_from_output(output, answer)


def _sampled(request: Request | None) -> list[int]:
    return [] if request is None or request.is_prefill_chunk else [PLAIN_TOKEN]
