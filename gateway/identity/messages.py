"""Messages in a form that survives the way to a client and back.

A client sends an answer back, but not as it came: null for an empty text or none, a string as a list of parts, fields
added (`refusal`, `annotations`) and left out (`reasoning_content`, thinking), a tool's arguments written anew. What is
left of a message here is what all of them keep: who says it, the text, which tools are called and which call is
answered. Only equality is asked of it, so long texts count by their length and ends, and a tool call by its id, which
the engine draws anew for each call, and by its arguments only where it has none.

Read are OpenAI's chat messages, Anthropic's messages and the items of the Responses API. What the system says is left
out: Anthropic and the Responses API have it elsewhere, and programs write the time into it.

Whatever a client sends is read in bounded time: `MessageReader` counts steps (a message, a part, 256 characters that
are kept) and stops when it has none left.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.identity.evidence import said

Message = str
"""`{role} {length of the text} {length of the marks}`, a line end, the text, the marks: one reading only."""

EMPTY_ANSWER: Message = "assistant 0 0\n"
"""It has neither text nor anything else."""

MAX_STEPS = 8192
"""Thousands of messages: some 20 ms, whatever is in them."""

_MAX_CHARS = 1024
"""Kept whole; of a longer text its length and both ends, half each."""
_ROLES = frozenset({"user", "assistant", "tool", "function"})
_SYSTEM_ROLES = ("system", "developer")
_UNSPOKEN = ("thinking", "redacted_thinking", "reasoning", "refusal")
"""Parts and items that clients drop."""
_THOUGHT_END = "</think>"
"""Where an engine without a reasoning parser ends the thoughts that clients cut off."""
_CONTENTS = ("image_url", "source", "input_audio", "file", "video_url", "audio_url", "file_data", "file_id", "id")
_ADDRESSES = ("url", "data", "file_data", "file_id")


def is_answer(message: Message) -> bool:
    return message.startswith("assistant ")


class MessageReader:
    """Reads messages as far as `max_steps` go. Once `is_spent`, the last message read may have lost something."""

    def __init__(self, max_steps: int = MAX_STEPS) -> None:
        self._left = max_steps

    @property
    def is_spent(self) -> bool:
        return self._left < 0

    def messages(self, fields: Mapping[str, Any]) -> Iterator[Message] | None:
        """Of a body, in order; None for a body that has none. Ends with the message at which the reader is spent."""
        messages = fields.get("messages")
        if isinstance(messages, list):
            return self._chat(messages)
        items = fields.get("input")
        if isinstance(items, str):
            return iter([self._message("user", items)])
        return self.turns(items) if isinstance(items, list) else None

    def _chat(self, messages: list[object]) -> Iterator[Message]:
        for message in messages:
            read = self.chat_message(message)
            if read is not None:
                yield read
            if self._left < 0:
                return

    def chat_message(self, message: object) -> Message | None:
        """One of OpenAI's or Anthropic's; None for the system's, and for what is no message."""
        self._left -= 1
        if not isinstance(message, dict):
            return None
        role = message.get("role")
        if not isinstance(role, str) or role in _SYSTEM_ROLES:
            return None
        marks: list[str] = []
        content = message.get("content")
        text = content if isinstance(content, str) else self._text(content, marks)
        calls = message.get("tool_calls")
        if calls:
            for call in self._each(calls):
                function = call.get("function")
                if isinstance(function, dict):
                    marks.append(_call_mark(call.get("id"), function))
        answered = message.get("tool_call_id")
        if isinstance(answered, str):
            marks.append(_mark("result", answered))
        return self._message(role, text, marks)

    def turns(self, items: list[object]) -> Iterator[Message]:
        """Of the Responses API's items. What a model says in a row (texts, calls of tools) is one message."""
        texts: list[str] = []
        marks: list[str] = []
        for item in self._each(items):
            read = self._item(item)
            if read is None:
                continue
            role, text, own = read
            if role == "assistant":
                texts.append(text)
                marks.extend(own)
                continue
            if texts:
                yield self._message("assistant", "".join(texts), marks)
                texts, marks = [], []
            if role not in _SYSTEM_ROLES:
                yield self._message(role, text, own)
        if texts:
            yield self._message("assistant", "".join(texts), marks)

    def _item(self, item: Mapping[str, Any]) -> tuple[str, str, list[str]] | None:
        """(who, text, marks); None for what clients drop, and for what is no item."""
        kind = item.get("type", "message")
        marks: list[str] = []
        if kind == "message":
            role = item.get("role")
            return (role, self._text(item.get("content"), marks), marks) if isinstance(role, str) else None
        if not isinstance(kind, str) or kind in _UNSPOKEN:
            return None
        if kind.endswith("_output"):
            marks.append(_mark("result", item.get("call_id")))
            return "tool", self._text(item.get("output"), marks), marks
        if kind == "function_call":
            return "assistant", "", [_call_mark(item.get("call_id"), item)]
        return "assistant", "", [_mark(kind, item.get("call_id") or item.get("id"))]

    def _text(self, content: object, marks: list[str]) -> str:
        """The text of a message's content. What else is in it is marked."""
        if isinstance(content, str):
            return content
        texts: list[str] = []
        for part in self._each(content):
            kind, text = part.get("type"), part.get("text")
            if kind in _UNSPOKEN:
                continue
            if isinstance(text, str):
                texts.append(text)
            elif kind == "tool_use":
                marks.append(_call_mark(part.get("id"), part))
            elif kind == "tool_result":
                marks.append(_mark("result", part.get("tool_use_id")))
                marks.append(_ends(self._inner_text(part.get("content"), marks)))
            else:
                marks.append(_mark(kind, _address(part)))
        return texts[0] if len(texts) == 1 else "".join(texts)

    def _inner_text(self, content: object, marks: list[str]) -> str:
        """Of a tool's result. Nothing is nested deeper, so that no depth of nesting is followed."""
        if isinstance(content, str):
            return content
        texts: list[str] = []
        for part in self._each(content):
            text = part.get("text")
            if isinstance(text, str):
                texts.append(text)
            else:
                marks.append(_mark(part.get("type"), _address(part)))
        return "".join(texts)

    def _each(self, values: object) -> Iterator[dict[str, Any]]:
        if isinstance(values, list):
            for value in values:
                self._left -= 1
                if self._left < 0:
                    return
                if isinstance(value, dict):
                    yield value

    def _message(self, role: str, text: str, marks: Sequence[str] = ()) -> Message:
        if role == "assistant" and _THOUGHT_END in text:
            text = text[text.rfind(_THOUGHT_END) + len(_THOUGHT_END) :]
        text, others = _ends(text), "\0".join(marks) if marks else ""
        self._left -= (len(text) + len(others)) >> 8
        return f"{role if role in _ROLES else 'other'} {len(text)} {len(others)}\n{text}{others}"


def _call_mark(call_id: object, function: Mapping[str, object]) -> str:
    if said(call_id) is not None:
        return _mark("call", call_id, function.get("name"))
    arguments = function.get("arguments")
    return _mark("call", function.get("name"), "".join(_ends(arguments).split()) if isinstance(arguments, str) else "")


def _mark(*words: object) -> str:
    return "\0".join([_ends(word) if isinstance(word, str) else "" for word in words])


def _address(part: Mapping[str, object]) -> str:
    """Where an image or a file is, or the file itself."""
    for name in _CONTENTS:
        value = part.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, dict):
            for address in _ADDRESSES:
                inner = value.get(address)
                if isinstance(inner, str):
                    return inner
    return ""


def _ends(text: str) -> str:
    text = text.strip()
    if len(text) <= _MAX_CHARS:
        return text
    return f"{text[: _MAX_CHARS // 2]}{len(text)}{text[-_MAX_CHARS // 2 :]}"
