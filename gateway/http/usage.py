"""Reads the tokens used from an answer on its way to the client, and hides what the client did not ask for.

An engine tells the usage of a stream only if `stream_options.include_usage` asks for it. Where the client did not, the
gateway does, and the client must see what it would have seen. For vLLM (0.29 to 0.33) that takes two changes, no more,
since it leaves unset fields out and adds no `"usage": null` to other events:

1. the last event, which has the usage and no choices, is dropped;
2. `system_fingerprint`, which moves to that event from those that end a choice, is moved back. So an event that ends a
   choice is held until the next one, which is there at the same moment. (With `n` > 1 the events of other choices
   overtake it; their order among choices is chance anyway.)

An engine that was told to always send usage (--enable-force-include-usage) sends it with every event, asked or not:
then nothing is hidden.
"""

import json
import re
from typing import Any

import orjson

from gateway.fairness.units import Tokens
from gateway.http.sse import EventSplitter, event_data
from gateway.identity import AnswerReader
from gateway.scheduling.model import Usage

USAGE_KEY = b'"usage"'
"""Inside a JSON string its quotes would be escaped: a cheap and certain sign that there is nothing to parse."""
_FINISH_KEY = b'"finish_reason"'
_INPUT_PARTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_FINISHED = re.compile(rb'"finish_reason"\s*:\s*"')


def usage_of(message: object) -> Usage | None:
    """The usage in an answer or an event of any of the APIs, if it is there and makes sense.

    It stands at the top (chat, completions, messages, embeddings), in `response` (an event of a response) or in
    `message` (the first event of a message). Anthropic's `input_tokens` are without those that were cached.
    """
    usage = _usage_field(message)
    if usage is None:
        return None
    completion_tokens = _count(usage.get("completion_tokens") or usage.get("output_tokens") or 0)
    if "prompt_tokens" in usage:
        prompt_tokens = _count(usage["prompt_tokens"])
    else:
        parts = [_count(usage.get(name) or 0) for name in _INPUT_PARTS if name in usage]
        prompt_tokens = Tokens(sum(part or 0 for part in parts)) if parts and None not in parts else None
    if prompt_tokens is None or completion_tokens is None:
        return None
    return Usage(prompt_tokens, completion_tokens)


def _usage_field(message: object) -> dict[str, Any] | None:
    if not isinstance(message, dict):
        return None
    for place in (message, message.get("response"), message.get("message")):
        if isinstance(place, dict) and isinstance(place.get("usage"), dict):
            usage: dict[str, Any] = place["usage"]
            return usage
    return None


class UsageReader:
    """Takes a stream's chunks and gives back what the client is to see. `answer` reads along."""

    def __init__(self, *, hides_usage: bool, answer: AnswerReader | None = None) -> None:
        self.usage: Usage | None = None
        self._hides_usage = hides_usage
        self._answer = answer
        self._splitter = EventSplitter()
        self._held: list[bytes] = []

    def feed(self, chunk: bytes) -> bytes:
        if self._passes_whole(chunk):
            return chunk
        return b"".join([self._pass(piece, is_event) for piece, is_event in self._splitter.feed(chunk)])

    def _passes_whole(self, chunk: bytes) -> bool:
        """Whole events with nothing in them to read or to hide: most there are, and they need not be told apart."""
        return (
            chunk.endswith(b"\n\n")
            and (self._answer is None or self._answer.is_complete)
            and not self._held
            and self._splitter.is_between_events
            and USAGE_KEY not in chunk
            and not (self._hides_usage and _FINISHED.search(chunk))
        )

    def end(self) -> bytes:
        """The rest, of a stream that has ended well."""
        return self._release() + self._splitter.end()

    def break_off(self) -> bytes:
        """The rest, of a stream that was broken off: whole events only."""
        return self._release()

    def _pass(self, piece: bytes, is_event: bool) -> bytes:
        if is_event and self._answer is not None:
            self._answer.feed_event(event_data(piece))
        message = self._read(piece) if is_event and USAGE_KEY in piece else None
        if not self._hides_usage:
            return piece
        if message is not None:
            if message.get("choices") == []:
                return self._release(message.get("system_fingerprint"))
            self._hides_usage = False  # it comes unasked
        elif is_event and _FINISH_KEY in piece:
            if not _FINISHED.search(piece):
                return piece
            self._held.append(piece)
            return b""
        return self._release() + piece

    def _read(self, event: bytes) -> dict[str, Any] | None:
        """The event's message, if it has usage."""
        message = parsed(event_data(event))
        usage = usage_of(message)
        if usage is None:
            return None
        # A message's first event tells its input, its last one its output; others may repeat either as 0.
        seen = self.usage or usage
        self.usage = Usage(
            max(seen.prompt_tokens, usage.prompt_tokens), max(seen.completion_tokens, usage.completion_tokens)
        )
        assert isinstance(message, dict)
        return message

    def _release(self, fingerprint: object = None) -> bytes:
        held, self._held = self._held, []
        return b"".join([_stamped(event, fingerprint) for event in held])


def _stamped(event: bytes, fingerprint: object) -> bytes:
    """With the fingerprint where vLLM would have put it: last in the message."""
    if not isinstance(fingerprint, str) or b'"system_fingerprint"' in event:
        return event
    at = event.rindex(b"}")
    return event[:at] + b',"system_fingerprint":' + json.dumps(fingerprint).encode() + event[at:]


def parsed(text: bytes) -> object:
    """None for what is no JSON."""
    try:
        message: object = orjson.loads(text)
    except ValueError:  # of an engine, whose words nobody has to be told
        return None
    return message


def _count(value: object) -> Tokens | None:
    return Tokens(value) if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
