"""Guesses of lengths for calls that have not run yet, learnt from those that have. Pure, bounded, per process."""

from gateway.fairness.cost import call_cost
from gateway.fairness.units import KvTokenTime, Tokens
from gateway.scheduling.model import Usage

_SMOOTHING = 0.05
"""Weight of the newest call: the memory is some twenty calls long."""

_FIRST_BYTES_PER_TOKEN = 4.0
"""English under the usual tokenizers, before anything was seen."""

_FIRST_OUTPUT_TOKENS = 128.0


class TokenEstimates:
    """Bytes of body per prompt token, and tokens written per call, as moving means."""

    def __init__(self) -> None:
        self._bytes_per_token = _FIRST_BYTES_PER_TOKEN
        self._output_tokens = _FIRST_OUTPUT_TOKENS

    def prompt_tokens(self, body_bytes: int) -> Tokens:
        return Tokens(max(1, round(body_bytes / self._bytes_per_token)))

    def call_cost(self, prompt_tokens: Tokens, max_tokens: Tokens | None) -> KvTokenTime:
        output_tokens = round(self._output_tokens)
        if max_tokens is not None:
            output_tokens = min(output_tokens, max(0, max_tokens))
        return call_cost(prompt_tokens, Tokens(output_tokens))

    def learn(self, body_bytes: int, usage: Usage) -> None:
        if usage.prompt_tokens > 0:
            self._bytes_per_token += _SMOOTHING * (body_bytes / usage.prompt_tokens - self._bytes_per_token)
        self._output_tokens += _SMOOTHING * (usage.completion_tokens - self._output_tokens)
