"""OpenAI's responses as vLLM answers them."""

from collections.abc import Iterator
from itertools import pairwise
from uuid import uuid4

from tests.fakes.protocols.turns import Answer, Body, ToolCall, numbered, pieces, sse

_ECHOED = ("instructions", "metadata", "max_tool_calls", "previous_response_id", "prompt", "reasoning", "text", "user")


def num_answers(body: Body) -> int:
    """An answer is a run of items that the model has made: its text, and the calls beside it."""
    items = [] if isinstance(body["input"], str) else body["input"]
    made = [False, *(item.get("role") == "assistant" or item.get("type") == "function_call" for item in items)]
    return sum(is_made and not was_made for was_made, is_made in pairwise(made))


def tools_of(body: Body) -> set[str]:
    return {tool["name"] for tool in body.get("tools") or [] if tool["type"] == "function"}


def response(answer: Answer, body: Body, output: list[Body], status: str = "completed") -> Body:
    """The whole object, as it stands while `output` is what there is of it."""
    tools = body.get("tools") or []
    return {key: body.get(key) for key in _ECHOED} | {
        "id": answer.id,
        "created_at": answer.created,
        "incomplete_details": None,
        "model": answer.model,
        "object": "response",
        "output": output,
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "temperature": body.get("temperature") or 1.0,
        "tool_choice": body.get("tool_choice") or ("auto" if tools else "none"),
        "tools": tools,
        "top_p": body.get("top_p") or 1.0,
        "background": body.get("background") or False,
        "max_output_tokens": body.get("max_output_tokens") or 4096,
        "service_tier": "auto",
        "status": status,
        "top_logprobs": None,
        "truncation": "disabled",
        "usage": _usage(answer) if status == "completed" else None,
    }


def output_of(answer: Answer) -> list[Body]:
    items = [_message(f"msg_{uuid4().hex[:16]}", answer.turn.text)] if answer.turn.text else []
    return items + [_function_call(f"fc_{uuid4().hex[:16]}", call, call.arguments) for call in answer.turn.tool_calls]


def events(answer: Answer, body: Body, output: list[Body]) -> Iterator[bytes]:
    """The stream that ends with the response whose output is `output`."""
    for event in numbered(_events(answer, body, output)):
        yield sse(event, event=event["type"])


def _events(answer: Answer, body: Body, output: list[Body]) -> Iterator[Body]:
    unfinished = response(answer, body, [], "in_progress")
    yield {"type": "response.created", "response": unfinished}
    yield {"type": "response.in_progress", "response": unfinished}
    for index, item in enumerate(output):
        of_item = _text_events(item, index) if item["type"] == "message" else _call_events(item, index)
        first, *others, last = of_item
        yield {"type": "response.output_item.added", "item": first, "output_index": index}
        yield from others
        yield {"type": "response.output_item.done", "item": last, "output_index": index}
    yield {"type": "response.completed", "response": response(answer, body, output)}


def _text_events(item: Body, index: int) -> Iterator[Body]:
    """The item as it is added, the events within it, the item as it is done."""
    part: Body = item["content"][0]
    place = {"item_id": item["id"], "output_index": index, "content_index": 0}
    yield item | {"content": [], "status": "in_progress"}
    empty = {"annotations": [], "text": "", "type": "output_text", "logprobs": []}
    yield {"type": "response.content_part.added", "part": empty} | place
    for piece in pieces(part["text"]):
        yield {"type": "response.output_text.delta", "delta": piece, "logprobs": []} | place
    yield {"type": "response.output_text.done", "text": part["text"], "logprobs": []} | place
    yield {"type": "response.content_part.done", "part": part} | place
    yield item


def _call_events(item: Body, index: int) -> Iterator[Body]:
    place = {"item_id": item["id"], "output_index": index}
    yield item | {"arguments": "", "status": "in_progress"}
    for piece in pieces(item["arguments"]):
        yield {"type": "response.function_call_arguments.delta", "delta": piece} | place
    done = {"arguments": item["arguments"], "name": item["name"]}
    yield {"type": "response.function_call_arguments.done"} | done | place
    yield item


def _message(item_id: str, text: str) -> Body:
    part = {"annotations": [], "text": text, "type": "output_text", "logprobs": None}
    return {"id": item_id, "content": [part], "role": "assistant", "status": "completed", "type": "message"}


def _function_call(item_id: str, call: ToolCall, arguments: str) -> Body:
    return {
        "arguments": arguments,
        "call_id": call.id,
        "name": call.name,
        "type": "function_call",
        "id": item_id,
        "status": "completed",
    }


def _usage(answer: Answer) -> Body:
    return {
        "input_tokens": answer.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": answer.turn.num_tokens,
        "output_tokens_details": {"reasoning_tokens": 0, "tool_output_tokens": 0},
        "total_tokens": answer.total_tokens,
    }
