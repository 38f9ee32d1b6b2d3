"""Guesses of lengths for calls that have not run yet, learnt from those that have. Pure, bounded, per process."""

from dataclasses import replace

from gateway.fairness.cost import call_cost
from gateway.fairness.units import KvTokenTime, Tokens
from gateway.scheduling.model import CallRequest, Usage
from gateway.values import value

_SMOOTHING = 0.05
"""Weight of the newest call: the memory is some twenty calls long."""

_FIRST_BYTES_PER_TOKEN = 4.0
"""English under the usual tokenizers, before anything was seen."""

_FIRST_OUTPUT_TOKENS = 128.0


@value
class Expected:
    """Of one call."""

    prompt_tokens: Tokens
    output_tokens: Tokens
    cost: KvTokenTime

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.output_tokens


class TokenEstimates:
    """Bytes of body per prompt token, and tokens written per call, as moving means."""

    def __init__(self) -> None:
        self._bytes_per_token = _FIRST_BYTES_PER_TOKEN
        self._output_tokens = _FIRST_OUTPUT_TOKENS

    def prompt_tokens(self, body_bytes: int) -> Tokens:
        return Tokens(max(1, round(body_bytes / self._bytes_per_token)))

    def of_call(self, request: CallRequest) -> Expected:
        """What it will use."""
        prompt_tokens = self.prompt_of(request)
        output_tokens = round(self._output_tokens)
        if request.max_tokens is not None:
            output_tokens = min(output_tokens, max(0, request.max_tokens))
        return Expected(prompt_tokens, Tokens(output_tokens), call_cost(prompt_tokens, Tokens(output_tokens)))

    def spent(self, request: CallRequest, usage: Usage | None, *, has_answered: bool) -> Expected:
        """What a call that was dispatched has used, as far as it can be told when it ends.

        Of one that broke off without usage, the cost is that of its prompt, held for an iteration at least (the
        engine's own account comes later), and the tokens are what was expected: who hangs up early pays no less."""
        if usage is not None:
            cost = call_cost(usage.prompt_tokens, usage.completion_tokens)
            return Expected(usage.prompt_tokens, usage.completion_tokens, cost)
        if not has_answered:
            return Expected(Tokens(0), Tokens(0), KvTokenTime(0.0))
        expected = self.of_call(request)
        return replace(expected, cost=call_cost(expected.prompt_tokens, Tokens(1)))

    def prompt_of(self, request: CallRequest) -> Tokens:
        if request.prompt_tokens_hint is not None:
            return request.prompt_tokens_hint
        return self.prompt_tokens(request.body_bytes)

    def learn(self, body_bytes: int, usage: Usage) -> None:
        if usage.prompt_tokens > 0:
            self._bytes_per_token += _SMOOTHING * (body_bytes / usage.prompt_tokens - self._bytes_per_token)
        self._output_tokens += _SMOOTHING * (usage.completion_tokens - self._output_tokens)
