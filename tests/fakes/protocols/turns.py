"""What a scripted model says, apart from the protocol it says it in."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

Body = dict[str, Any]


def _new_tool_call_id() -> str:
    return f"chatcmpl-tool-{uuid4().hex[:16]}"


@dataclass(frozen=True, slots=True)
class ToolCall:
    name: str
    arguments: str
    """JSON."""
    id: str = field(default_factory=_new_tool_call_id)


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of the model: text, or tools to call."""

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()

    def with_new_ids(self) -> "Turn":
        """No two answers may share a tool call's id."""
        return Turn(self.text, tuple(ToolCall(call.name, call.arguments) for call in self.tool_calls))

    @property
    def num_tokens(self) -> int:
        return len(pieces(self.text)) + sum(1 + len(pieces(call.arguments)) for call in self.tool_calls)


def says(text: str) -> Turn:
    return Turn(text=text)


def calls(tool: str, **arguments: object) -> Turn:
    """Written as vLLM's tool parsers write it."""
    return Turn(tool_calls=(ToolCall(tool, json.dumps(arguments, ensure_ascii=False)),))


def both(*turns: Turn) -> Turn:
    """Several tools called in one answer."""
    return Turn(tool_calls=tuple(call for turn in turns for call in turn.tool_calls))


def pieces(text: str) -> list[str]:
    """What a stream sends one by one; joined, the text."""
    return re.findall(r"\s*\S{1,8}|\s+", text)


@dataclass(frozen=True, slots=True)
class Answer:
    """A turn on its way to one client: what every protocol needs to know beside the turn itself."""

    turn: Turn
    id: str
    model: str
    prompt_tokens: int
    created: int = 1_790_000_000

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.turn.num_tokens


def sse(data: object, event: str | None = None) -> bytes:
    lines = "" if event is None else f"event: {event}\n"
    return f"{lines}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def numbered(items: Iterator[Body]) -> Iterator[Body]:
    for number, item in enumerate(items):
        yield item | {"sequence_number": number}
