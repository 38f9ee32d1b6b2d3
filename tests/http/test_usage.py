import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fairness.units import Tokens
from gateway.http.usage import UsageReader, parsed, usage_of
from gateway.identity import AnswerReader
from gateway.scheduling.model import Usage
from tests.http.chunks import cut, places

USAGE = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
SEEN = Usage(Tokens(11), Tokens(3))
DONE = b"data: [DONE]\n\n"


def usage_of_body(body: bytes) -> Usage | None:
    return usage_of(parsed(body))


def event(choices: list[object], **more: object) -> bytes:
    """As vLLM writes it: compact, unset fields left out."""
    message = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices} | more
    return b"data: " + json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def delta(text: str, index: int = 0, finish: str | None = None, **more: object) -> bytes:
    return event([{"index": index, "delta": {"content": text}, "logprobs": None, "finish_reason": finish}], **more)


texts = st.text(st.sampled_from('aé🙂"\\ {}:,\n\r') | st.characters(exclude_categories=["Cs"]), max_size=20) | (
    st.sampled_from(["usage", '"usage": {"prompt_tokens": 1}', "finish_reason", "[DONE]", "data: x\n\n"])
)


def through(chunks: list[bytes], *, hides_usage: bool) -> tuple[bytes, Usage | None]:
    reader = UsageReader(hides_usage=hides_usage)
    seen = b"".join([reader.feed(chunk) for chunk in chunks]) + reader.end()
    return seen, reader.usage


def vllm_stream(parts: list[str], *, include_usage: bool, fingerprint: str | None = "vllm-1-ab", n: int = 1) -> bytes:
    """The same answer as vLLM writes it with and without include_usage."""
    events = [delta(part, index) for part in parts for index in range(n)]
    last = {} if include_usage or fingerprint is None else {"system_fingerprint": fingerprint}
    events += [delta("", index, "stop", **last) for index in range(n)]
    if include_usage:
        more = {"usage": USAGE} if fingerprint is None else {"usage": USAGE, "system_fingerprint": fingerprint}
        events.append(event([], **more))
    return b"".join(events) + DONE


@given(st.lists(texts, max_size=6), places)
def test_a_stream_that_asked_for_usage_passes_byte_for_byte(parts: list[str], cuts: list[int]) -> None:
    stream = vllm_stream(parts, include_usage=True)
    assert through(cut(stream, cuts), hides_usage=False) == (stream, SEEN)


@given(st.lists(texts, max_size=6), places, st.sampled_from([None, "vllm-1-ab", 'é"}']), st.integers(1, 3))
def test_hidden_usage_leaves_what_would_have_come_without(
    parts: list[str], cuts: list[int], fingerprint: str | None, n: int
) -> None:
    asked = vllm_stream(parts, include_usage=True, fingerprint=fingerprint, n=n)
    not_asked = vllm_stream(parts, include_usage=False, fingerprint=fingerprint, n=n)
    seen, usage = through(cut(asked, cuts), hides_usage=True)
    assert usage == SEEN
    if fingerprint is None or fingerprint.isascii():
        assert seen == not_asked
    else:  # spelt with an escape, the same string
        assert (
            seen.replace(json.dumps(fingerprint).encode(), b'"%s"' % fingerprint.replace('"', '\\"').encode())
            == not_asked
        )


def test_every_chunk_goes_on_at_once() -> None:
    reader = UsageReader(hides_usage=True)
    for part in ("one", "two", "three"):
        assert reader.feed(delta(part)) == delta(part)


def test_whole_events_without_usage_pass_as_they_are() -> None:
    """The same object: nobody took it apart."""
    reader = UsageReader(hides_usage=True)
    burst = b"".join([delta(str(number)) for number in range(32)])
    assert reader.feed(burst) is burst
    reader.feed(delta("half")[:-1])
    assert reader.feed(b"\n" + burst) == delta("half") + burst  # what ends an event is its end
    assert reader.feed(burst) is burst


def test_whole_events_are_read_by_who_reads_along() -> None:
    answer = AnswerReader(wants_message=True)
    reader = UsageReader(hides_usage=False, answer=answer)
    stream = delta("a", role="x") + delta("b", finish="stop") + DONE
    assert reader.feed(stream) == stream
    assert answer.is_complete


def test_a_finished_choice_waits_for_the_next_event_only() -> None:
    reader = UsageReader(hides_usage=True)
    assert reader.feed(delta("", 0, "stop")) == b""
    assert reader.feed(delta("more", 1)) == delta("more", 1)
    assert reader.feed(b": ping\n\n") == delta("", 0, "stop") + b": ping\n\n"


def test_an_engine_that_always_sends_usage_is_let_be() -> None:
    stream = delta("a", usage=USAGE) + delta("", finish="stop", usage=USAGE) + event([], usage=USAGE) + DONE
    assert through([stream], hides_usage=True) == (stream, SEEN)


@pytest.mark.parametrize(
    "stream",
    [
        delta("a") + b'data: {"error":{"message":"usage","code":500}}\n\n' + DONE,
        delta("", finish="length"),  # ended without usage and without [DONE]
        delta("a") + b'data: {not json "usage"\n\n' + DONE,
        delta("a") + b'data: {"choices":[],"usage":null}\n\n' + DONE,
        delta("a") + b'data: {"choices":[],"usage":{"prompt_tokens":-1}}\n\n' + DONE,
        b"no event at all",
        b"",
    ],
)
def test_what_is_no_usage_passes(stream: bytes) -> None:
    assert through([stream], hides_usage=True) == (stream, None)


def test_a_long_event_never_has_another_put_into_it() -> None:
    for long in (delta("x" * 3 * 2**20, 1), delta("x" * 3 * 2**20, 1, "stop")):
        stream = delta("", 0, "stop") + long + delta("more", 2) + DONE
        seen, _ = through(cut(stream, [i * 16384 for i in range(200)]), hides_usage=True)
        assert seen == stream


def test_a_stream_broken_off_ends_with_a_whole_event() -> None:
    reader = UsageReader(hides_usage=True)
    seen = reader.feed(delta("a") + delta("", 0, "stop") + b'data: {"id":"c","cho')
    assert seen + reader.break_off() == delta("a") + delta("", 0, "stop")


def test_the_usage_of_a_body() -> None:
    assert usage_of_body(json.dumps({"usage": USAGE}).encode()) == SEEN
    assert usage_of_body(b'{"usage":{"prompt_tokens":11,"completion_tokens":null}}') == Usage(Tokens(11), Tokens(0))
    for body in (b"", b"[]", b'{"usage":[]}', b'{"usage":{"prompt_tokens":"11"}}', b'{"usage":{"prompt_tokens":true}}'):
        assert usage_of_body(body) is None
    assert usage_of_body(b"[" * 100_000 + b'"usage"') is None
