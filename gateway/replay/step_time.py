"""Seconds of one engine step, from the work in it.

Affine in the tokens computed and in the KV tokens read, as continuous-batching engines are measured to be: a floor that
weights and launches cost, a part for every token that passes through the model, a part for every cached token that
attention reads.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class StepTime:
    base_s: float
    per_token_s: float
    per_kv_token_s: float

    def of(self, num_tokens: int, num_kv_tokens: int) -> float:
        return self.base_s + self.per_token_s * num_tokens + self.per_kv_token_s * num_kv_tokens


PRESETS: Mapping[str, StepTime] = MappingProxyType(
    {
        # 7B in half precision on a 40-GB A100. Base and tokens are the estimate that the project's first study was made
        # with, the reading is from published figures: 0.5 MB of KV a token at 1.5 TB/s.
        "a100-7b": StepTime(base_s=0.025, per_token_s=30e-6, per_kv_token_s=0.35e-6),
        # 8B with grouped queries on an H200, from published figures: 16 GB of weights at 4.8 TB/s, and as much again
        # for launches; 16 TFLOP per 1,000 tokens at half of 990 TFLOP/s; 0.13 MB of KV a token at 4.8 TB/s.
        "h200-8b": StepTime(base_s=0.007, per_token_s=33e-6, per_kv_token_s=0.03e-6),
        # The tiny model of `justitia engine tiny` on one core of a CPU: fitted (benchmarks/results/step_time.json).
        "cpu-tiny": StepTime(base_s=0.00238, per_token_s=0.000162, per_kv_token_s=5.29e-07),
    }
)
"""The first two are estimates that are fitted to nothing: read the ratios of a simulation, not its seconds."""
