"""The engine's routes that pass through the gateway, and in what they differ."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from gateway.values import value

ErrorShape = Literal["openai", "anthropic"]


@value
class Api:
    engine_path: str
    takes_turn: bool = True
    """Runs a model, so it waits for its place in the order. What does not is passed on at once."""
    length_limits: tuple[str, ...] = ()
    """Fields that limit the completion's tokens; the first that is set counts."""
    tells_usage_if_asked: bool = False
    """A stream has its usage only with `stream_options.include_usage`."""
    error_shape: ErrorShape = "openai"


APIS: Mapping[str, Api] = MappingProxyType(
    {
        "/v1/chat/completions": Api(
            "/v1/chat/completions",
            length_limits=("max_completion_tokens", "max_tokens"),
            tells_usage_if_asked=True,
        ),
        "/v1/completions": Api("/v1/completions", length_limits=("max_tokens",), tells_usage_if_asked=True),
        "/v1/responses": Api("/v1/responses", length_limits=("max_output_tokens",)),
        "/v1/messages": Api("/v1/messages", length_limits=("max_tokens",), error_shape="anthropic"),
        "/v1/embeddings": Api("/v1/embeddings"),
        "/v1/messages/count_tokens": Api("/v1/messages/count_tokens", takes_turn=False, error_shape="anthropic"),
        # vLLM has these outside of /v1, where its own clients look for them.
        "/v1/tokenize": Api("/tokenize", takes_turn=False),
        "/v1/detokenize": Api("/detokenize", takes_turn=False),
        "/tokenize": Api("/tokenize", takes_turn=False),
        "/detokenize": Api("/detokenize", takes_turn=False),
    }
)
"""By the path at the gateway, without /apps/…; all are POST."""
