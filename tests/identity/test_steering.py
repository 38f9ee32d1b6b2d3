import pytest

from gateway.identity import is_steering


@pytest.mark.parametrize(
    "header",
    [
        "priority",
        "Priority",
        "x-vllm-priority",
        "X-Vllm-Anything",
        "X-Data-Parallel-Rank",
        "x-session-id",
        "X-Justitia-Application",
        "x-justitia-kind",
        "x-request-id",
        "x-dynamo-session-final",
        "x-llm-d-inference-fairness-id",
        "x-gateway-inference-objective",
    ],
)
def test_what_would_steer_an_engine_stays_here(header: str) -> None:
    assert is_steering(header)


@pytest.mark.parametrize(
    "header",
    [
        "content-type",
        "accept",
        "traceparent",
        "baggage",
        "user-agent",
        "anthropic-version",
        "x-priority-mail",
        "x-claude-code-session-id",
        "x-justitia",
    ],
)
def test_the_rest_may_pass(header: str) -> None:
    assert not is_steering(header)
