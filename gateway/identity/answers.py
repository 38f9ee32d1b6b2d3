"""What of an engine's answer a later call may carry: its message, and the id of a response.

The same answer gives the same `Answer`, in one piece or as a stream of events, of OpenAI's chat, Anthropic's messages
or the Responses API. Whatever an engine sends, reading it never raises and keeps no more than `MAX_TEXT_CHARS`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.identity.evidence import said
from gateway.identity.messages import EMPTY_ANSWER, Message, MessageReader
from gateway.values import value

MAX_TEXT_CHARS = 256 * 1024
"""Of a stream's answer; of a longer one nothing is known."""
_MAX_PIECES = 256
"""Blocks of text and calls of tools in one answer."""
_NOT_DELTAS = (b"response.created", b"response.completed", b"response.incomplete")


@value
class Answer:
    response_id: str | None = None
    """Of the Responses API only: what a later call names as the previous one."""
    message: Message | None = None
    """None: not wanted, not finished, too long, or nothing was said."""


@dataclass(slots=True)
class _Piece:
    """A text, or a call of a tool, as it grows."""

    call_id: str = ""
    name: str = ""
    text: list[str] = field(default_factory=list)
    is_call: bool = False


class AnswerReader:
    """Reads one answer: `read_body`, or `feed_event` for every event of a stream."""

    def __init__(self, *, wants_message: bool) -> None:
        self._wants_message = wants_message
        self._response_id: str | None = None
        self._message: Message | None = None
        self._pieces: dict[int, _Piece] = {}
        self._left = MAX_TEXT_CHARS
        self._is_lost = False
        self.is_complete = False
        """All that is wanted has come: what it leads to can be noted, before the client sees the end."""

    @property
    def answer(self) -> Answer:
        return Answer(self._response_id, self._message)

    def read_body(self, body: object) -> None:
        """An answer in one piece, parsed."""
        if not isinstance(body, dict):
            return
        match body:
            case {"choices": [{"message": dict(message)}, *_]}:
                self._finish_chat(message)
            case {"output": list(_)}:
                self._finish_response(body)
            case {"content": list(content)}:
                self._finish_chat({"content": content})

    def feed_event(self, data: bytes) -> None:
        """`data` is the event's data field. Nothing is parsed that cannot say anything new."""
        if self.is_complete or data[:1] != b"{":
            return
        if b'"response.' in data and not any(name in data for name in _NOT_DELTAS):
            return
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            return
        match event:
            case {"choices": [*choices]}:
                self._chat_event(choices)
            case {"type": "response.created", "response": {"id": response_id}}:
                self._response_id = said(response_id)
                self.is_complete = self._response_id is not None and not self._wants_message
            case {"type": "response.completed" | "response.incomplete", "response": dict(response)}:
                self._finish_response(response)
            case {"type": str(_)}:
                self._anthropic_event(event)

    # --- OpenAI's chat ----------------------------------------------------------------------------------------------

    def _chat_event(self, choices: list[object]) -> None:
        """Of several choices the first: its text is piece -1, its calls have the index they are sent with."""
        for choice in choices:
            if not isinstance(choice, dict) or choice.get("index", 0) != 0:
                continue
            delta = choice.get("delta")
            if isinstance(delta, dict):
                self._add_text(-1, delta.get("content"))
                calls = delta.get("tool_calls")
                for call in calls if isinstance(calls, list) else ():
                    self._chat_call(call)
            if isinstance(choice.get("finish_reason"), str):
                self._finish_pieces()

    def _chat_call(self, call: object) -> None:
        if not isinstance(call, dict):
            return
        index, function = call.get("index"), call.get("function")
        piece = self._piece(index if isinstance(index, int) and index >= 0 else 0)
        piece.is_call = True
        piece.call_id = piece.call_id or self._kept(call.get("id"))
        if isinstance(function, dict):
            piece.name = piece.name or self._kept(function.get("name"))
            piece.text.append(self._kept(function.get("arguments")))

    # --- Anthropic's messages ---------------------------------------------------------------------------------------

    def _anthropic_event(self, event: Mapping[str, Any]) -> None:
        match event:
            case {"type": "content_block_start", "index": int(index), "content_block": {"type": "tool_use"} as block}:
                piece = self._piece(index)
                piece.is_call = True
                piece.call_id, piece.name = self._kept(block.get("id")), self._kept(block.get("name"))
            case {"type": "content_block_start", "index": int(index), "content_block": {"type": "text"} as block}:
                self._add_text(index, block.get("text"))
            case {"type": "content_block_delta", "index": int(index), "delta": {"type": "text_delta", "text": text}}:
                self._add_text(index, text)
            case {"type": "message_delta", "delta": {"stop_reason": str(_)}} | {"type": "message_stop"}:
                self._finish_pieces()

    # --- pieces -----------------------------------------------------------------------------------------------------

    def _piece(self, index: int) -> _Piece:
        piece = self._pieces.get(index)
        if piece is None:
            piece = _Piece()
            if len(self._pieces) < _MAX_PIECES:
                self._pieces[index] = piece
            else:
                self._lose()
        return piece

    def _add_text(self, index: int, text: object) -> None:
        kept = self._kept(text)
        if kept:
            self._piece(index).text.append(kept)

    def _kept(self, text: object) -> str:
        if not self._wants_message or self._is_lost or not isinstance(text, str):
            return ""
        self._left -= len(text)
        if self._left < 0:
            self._lose()
            return ""
        return text

    def _lose(self) -> None:
        self._is_lost = True
        self._pieces.clear()

    # --- ends -------------------------------------------------------------------------------------------------------

    def _finish_pieces(self) -> None:
        pieces = [self._pieces[index] for index in sorted(self._pieces)]
        calls = [
            {"id": piece.call_id, "function": {"name": piece.name, "arguments": "".join(piece.text)}}
            for piece in pieces
            if piece.is_call
        ]
        text = "".join(["".join(piece.text) for piece in pieces if not piece.is_call])
        if not self._is_lost:
            self._finish_chat({"content": text, "tool_calls": calls})
        self.is_complete = True
        self._pieces.clear()

    def _finish_response(self, response: Mapping[str, Any]) -> None:
        self._response_id = said(response.get("id")) or self._response_id
        reader, output = MessageReader(), response.get("output")
        self._finish(reader, next(reader.turns(output), None) if isinstance(output, list) else None)

    def _finish_chat(self, message: Mapping[str, Any]) -> None:
        reader = MessageReader()
        self._finish(reader, reader.chat_message({**message, "role": "assistant"}))

    def _finish(self, reader: MessageReader, message: Message | None) -> None:
        self.is_complete = True
        if self._wants_message and not reader.is_spent and message not in (None, EMPTY_ANSWER):
            self._message = message
