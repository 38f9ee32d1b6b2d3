"""Request headers with which a client would steer an engine past the gateway's order: read here, never passed on."""

STEERING_HEADERS = frozenset(
    {
        "priority",  # RFC 9218, honoured by some proxies
        "x-data-parallel-rank",  # vLLM: picks the rank that serves the call
        "x-request-id",  # vLLM: becomes the engine's own id of the call, which only the gateway may choose
        "x-session-id",  # vLLM: session affinity; rule 3 has read it by then
        "x-session-affinity",
        "x-parent-session-id",
    }
)

STEERING_PREFIXES = ("x-justitia-", "x-vllm-", "x-dynamo-", "x-llm-d-", "x-gateway-")
"""Whole families: x-vllm-priority overrides a body's priority; the others are read by routers that may stand between.
(x-gateway-… are those of the Gateway API's inference extension.)"""
