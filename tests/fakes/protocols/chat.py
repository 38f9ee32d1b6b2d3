"""OpenAI's chat completions, completions and embeddings as vLLM answers them."""

import base64
import struct
from collections.abc import Iterator
from typing import Any

from tests.fakes.protocols.turns import Answer, Body, pieces, sse

NULLS = {"logprobs": None, "stop_reason": None, "token_ids": None}


def num_answers(body: Body) -> int:
    return sum(message["role"] == "assistant" for message in body["messages"])


def tools_of(body: Body) -> set[str]:
    return {tool["function"]["name"] for tool in body.get("tools") or []}


def usage(answer: Answer) -> Body:
    return {
        "prompt_tokens": answer.prompt_tokens,
        "total_tokens": answer.total_tokens,
        "completion_tokens": answer.turn.num_tokens,
    }


def completion(answer: Answer) -> Body:
    turn = answer.turn
    message: Body = {"role": "assistant", "content": turn.text or None, "refusal": None, "reasoning": None}
    if turn.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in turn.tool_calls
        ]
    choice = {"index": 0, "message": message, "finish_reason": _finish_reason(answer)} | NULLS
    return _head(answer, "chat.completion") | {"choices": [choice], "usage": usage(answer), "metrics": None}


def chunks(answer: Answer, *, tells_usage: bool) -> Iterator[bytes]:
    yield _chunk(answer, {"role": "assistant", "content": ""})
    for piece in pieces(answer.turn.text):
        yield _chunk(answer, {"content": piece})
    for index, call in enumerate(answer.turn.tool_calls):
        named = {"id": call.id, "type": "function", "index": index, "function": {"name": call.name}}
        yield _chunk(answer, {"content": None, "tool_calls": [named]})
        for piece in pieces(call.arguments):
            delta = {"index": index, "function": {"arguments": piece}}
            yield _chunk(answer, {"content": None, "tool_calls": [delta]})
    yield _chunk(answer, {}, finish_reason=_finish_reason(answer))
    if tells_usage:
        yield sse(_head(answer, "chat.completion.chunk") | {"choices": [], "usage": usage(answer)})
    yield b"data: [DONE]\n\n"


def text_completion(answer: Answer) -> Body:
    choice = {"index": 0, "text": answer.turn.text, "finish_reason": "stop", "prompt_logprobs": None} | NULLS
    return _head(answer, "text_completion") | {"choices": [choice], "usage": usage(answer)}


def text_chunks(answer: Answer, *, tells_usage: bool) -> Iterator[bytes]:
    head = _head(answer, "text_completion")
    for piece in pieces(answer.turn.text):
        yield sse(head | {"choices": [{"index": 0, "text": piece, "finish_reason": None} | NULLS]})
    yield sse(head | {"choices": [{"index": 0, "text": "", "finish_reason": "stop"} | NULLS]})
    if tells_usage:
        yield sse(head | {"choices": [], "usage": usage(answer)})
    yield b"data: [DONE]\n\n"


def embeddings(answer: Answer, body: Body) -> Body:
    """Three numbers a text: its length, its words, 1."""
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    vectors = [[float(len(text)), float(len(text.split())), 1.0] for text in texts]
    data: list[Any] = vectors
    if body.get("encoding_format") == "base64":
        data = [base64.b64encode(struct.pack("<3f", *vector)).decode() for vector in vectors]
    return {
        "id": answer.id,
        "object": "list",
        "created": answer.created,
        "model": answer.model,
        "data": [{"index": index, "object": "embedding", "embedding": one} for index, one in enumerate(data)],
        "usage": {"prompt_tokens": answer.prompt_tokens, "total_tokens": answer.prompt_tokens, "completion_tokens": 0},
    }


def _head(answer: Answer, kind: str) -> Body:
    return {"id": answer.id, "object": kind, "created": answer.created, "model": answer.model}


def _chunk(answer: Answer, delta: Body, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    if "role" not in delta:
        choice["token_ids"] = None
    if finish_reason is not None:
        choice["stop_reason"] = None
    return sse(_head(answer, "chat.completion.chunk") | {"choices": [choice]})


def _finish_reason(answer: Answer) -> str:
    return "tool_calls" if answer.turn.tool_calls else "stop"
