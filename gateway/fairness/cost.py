"""What calls and applications cost: KV memory held over time.

A call with a prompt of p tokens that generates d tokens holds p + i tokens in its i-th iteration of generation, so

    c = Σ_{i=1..d} (p + i) = p·d + d(d+1)/2        token·iterations

An application's cost C is the sum over its calls. It is predicted when the application arrives and replaced by what was
measured when it closes. Approximated: the iterations of a prompt's prefill are not counted, and prompt blocks that
calls share are charged to each of them in full.
"""

from collections.abc import Iterable

from gateway.fairness.units import KvTokenTime, Tokens

INPUT_TOKEN_WEIGHT = 1
OUTPUT_TOKEN_WEIGHT = 2
"""VTC's prices (OSDI'24, section 4.1): an output token counts twice an input token."""


def call_cost(prompt_tokens: Tokens, output_tokens: Tokens) -> KvTokenTime:
    """p·d + d(d+1)/2. Exact below 2^53."""
    return KvTokenTime(float(_held(prompt_tokens, output_tokens)))


def application_cost(calls: Iterable[tuple[Tokens, Tokens]]) -> KvTokenTime:
    """The sum over (prompt tokens, output tokens) of the application's calls; independent of their order."""
    return KvTokenTime(float(sum(_held(prompt_tokens, output_tokens) for prompt_tokens, output_tokens in calls)))


def settled_call_cost(prompt_tokens: Tokens, output_tokens: Tokens, measured: KvTokenTime | None = None) -> KvTokenTime:
    """What an ended call is charged: the engine's measurement, or the formula over the tokens it really produced.

    A cancelled call counts what it held until then; by the formula, one that never produced a token costs nothing.
    """
    return call_cost(prompt_tokens, output_tokens) if measured is None else measured


def counted_cost(predicted_cost: KvTokenTime, service: KvTokenTime) -> KvTokenTime:
    """The late rule: the cost that an application's finish time goes by. Its prediction, or, once it has had more than
    that, what it has had: the least that it can still turn out to cost."""
    return max(predicted_cost, service)


def remaining_cost(predicted_cost: KvTokenTime, service: KvTokenTime) -> KvTokenTime:
    """What is left of a prediction after `service`; nothing when it was too small."""
    return KvTokenTime(max(0.0, predicted_cost - service))


def token_cost(input_tokens: Tokens, output_tokens: Tokens) -> int:
    """p + 2d, VTC's cost of a call, in weighted tokens: blind to how long memory is held."""
    _check_tokens(input_tokens, output_tokens)
    return INPUT_TOKEN_WEIGHT * input_tokens + OUTPUT_TOKEN_WEIGHT * output_tokens


def _held(prompt_tokens: Tokens, output_tokens: Tokens) -> int:
    _check_tokens(prompt_tokens, output_tokens)
    return prompt_tokens * output_tokens + output_tokens * (output_tokens + 1) // 2


def _check_tokens(prompt_tokens: Tokens, output_tokens: Tokens) -> None:
    if prompt_tokens < 0 or output_tokens < 0:
        raise ValueError(f"tokens must not be negative, got {prompt_tokens!r} and {output_tokens!r}")
