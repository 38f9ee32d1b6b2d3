"""Anthropic's messages as vLLM answers them."""

import json
from collections.abc import Iterator

from tests.fakes.protocols.turns import Answer, Body, pieces, sse


def num_answers(body: Body) -> int:
    return sum(message["role"] == "assistant" for message in body["messages"])


def tools_of(body: Body) -> set[str]:
    return {tool["name"] for tool in body.get("tools") or []}


def message(answer: Answer) -> Body:
    """Unary: vLLM leaves out what is null."""
    content: list[Body] = [{"type": "text", "text": answer.turn.text}] if answer.turn.text else []
    content += [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": json.loads(call.arguments)}
        for call in answer.turn.tool_calls
    ]
    return _head(answer, content) | {"stop_reason": _stop_reason(answer), "usage": _usage(answer)}


def events(answer: Answer) -> Iterator[bytes]:
    nothing_yet = {"input_tokens": answer.prompt_tokens, "output_tokens": 0}
    head = _head(answer, []) | {"stop_reason": None, "stop_sequence": None, "usage": nothing_yet}
    yield _event("message_start", message=head)
    index = 0
    if answer.turn.text:
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces(answer.turn.text)]
        yield from _block(index, {"type": "text", "text": ""}, deltas)
        index += 1
    for call in answer.turn.tool_calls:
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces(call.arguments)]
        yield from _block(index, {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}, deltas)
        index += 1
    ending = {"stop_reason": _stop_reason(answer), "stop_sequence": None}
    yield _event("message_delta", delta=ending, usage=_usage(answer))
    yield _event("message_stop")


def count(answer: Answer) -> Body:
    tokens = answer.prompt_tokens
    return {"input_tokens": tokens, "context_management": {"original_input_tokens": tokens}}


def error(kind: str, text: str) -> Body:
    return {"type": "error", "error": {"type": kind, "message": text}}


def _block(index: int, start: Body, deltas: list[Body]) -> Iterator[bytes]:
    yield _event("content_block_start", content_block=start, index=index)
    for delta in deltas:
        yield _event("content_block_delta", delta=delta, index=index)
    yield _event("content_block_stop", index=index)


def _event(kind: str, **fields: object) -> bytes:
    return sse({"type": kind} | fields, event=kind)


def _head(answer: Answer, content: list[Body]) -> Body:
    return {"id": answer.id, "type": "message", "role": "assistant", "content": content, "model": answer.model}


def _usage(answer: Answer) -> Body:
    return {"input_tokens": answer.prompt_tokens, "output_tokens": answer.turn.num_tokens}


def _stop_reason(answer: Answer) -> str:
    return "tool_use" if answer.turn.tool_calls else "end_turn"
