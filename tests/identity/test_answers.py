"""The same answer in one piece and as a stream, as vLLM sends them."""

import json
from typing import Any

import pytest

from gateway.identity.answers import MAX_TEXT_CHARS, Answer, AnswerReader
from gateway.identity.messages import MessageReader

ID = "chatcmpl-tool-0a1b"


def whole(body: object, *, wants_message: bool = True) -> Answer:
    reader = AnswerReader(wants_message=wants_message)
    reader.read_body(body)
    return reader.answer


def streamed(*events: object, wants_message: bool = True) -> AnswerReader:
    reader = AnswerReader(wants_message=wants_message)
    for event in events:
        assert not reader.is_complete
        reader.feed_event(event if isinstance(event, bytes) else json.dumps(event).encode())
    return reader


def chunk(finish: str | None = None, index: int = 0, **delta: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}


def call_delta(index: int, **function: str) -> dict[str, Any]:
    return {"index": index, "function": function}


def body(**message: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    return {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice], "usage": {}}


def sent_back(**message: Any) -> str | None:
    return MessageReader().chat_message({"role": "assistant", **message})


CALLS = [
    {"id": ID, "type": "function", "function": {"name": "read", "arguments": '{"path": "a"}'}},
    {"id": "", "type": "function", "function": {"name": "list", "arguments": '{"path": "b"}'}},
]


# --- OpenAI's chat --------------------------------------------------------------------------------------------------


def test_chat_text() -> None:
    stream = streamed(
        chunk(role="assistant", content=""),
        chunk(reasoning="hm"),
        chunk(content="\n\nYe"),
        chunk(content="s."),
        chunk("stop", content=""),
    )
    answer = whole(body(content="\n\nYes.", reasoning="hm", refusal=None, tool_calls=[]))
    assert stream.is_complete
    assert stream.answer == answer == Answer(message=sent_back(content="Yes."))


def test_chat_tool_calls() -> None:
    stream = streamed(
        chunk(role="assistant", content="Let me"),
        chunk(tool_calls=[{**call_delta(0, name="read", arguments=""), "id": ID, "type": "function"}]),
        chunk(content=" see"),
        chunk(tool_calls=[call_delta(0, arguments='{"path": "a"}'), call_delta(1, name="list", arguments="{")]),
        chunk(tool_calls=[{**call_delta(1, name="list", arguments='"path": "b"}'), "id": ""}]),
        chunk("tool_calls"),
    )
    assert stream.answer == whole(body(content="Let me see", tool_calls=CALLS))
    assert stream.answer.message == sent_back(content="Let me see", tool_calls=CALLS) is not None
    assert whole(body(content=None, tool_calls=CALLS)).message == sent_back(content="", tool_calls=CALLS)


def test_of_several_choices_the_first() -> None:
    stream = streamed(
        chunk(content="x", index=1), chunk(content="a"), chunk("stop", index=1), chunk(content="b"), chunk("stop")
    )
    two = body(content="ab")
    two["choices"].append({"index": 1, "message": {"role": "assistant", "content": "x"}})
    assert stream.answer == whole(two) == Answer(message="assistant 2 0\nab")


def test_what_is_not_finished_is_no_answer() -> None:
    stream = streamed(chunk(content="a"), {"id": "x", "choices": [], "usage": {}}, b"[DONE]")
    assert not stream.is_complete
    assert stream.answer == Answer()


def test_nothing_comes_after_the_end() -> None:
    stream = streamed(chunk(content="a"), chunk("stop"))
    stream.feed_event(json.dumps(chunk("stop", content="b")).encode())
    assert stream.answer == Answer(message="assistant 1 0\na")


@pytest.mark.parametrize("message", [{"content": ""}, {"content": None}, {"content": "<think>hm</think>\n"}])
def test_an_answer_that_says_nothing(message: dict[str, Any]) -> None:
    assert whole(body(**message)) == streamed(chunk(**message), chunk("stop")).answer == Answer()


# --- Anthropic's messages -------------------------------------------------------------------------------------------


def anthropic_stream(*blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {"id": "msg_1", "content": []}}]
    for index, (start, *deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    return [*events, {"type": "ping"}, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}]


def test_anthropic() -> None:
    stream = streamed(
        *anthropic_stream(
            [{"type": "thinking", "thinking": ""}, {"type": "thinking_delta", "thinking": "hm"}],
            [{"type": "text", "text": ""}, *({"type": "text_delta", "text": text} for text in ("Ye", "s."))],
            [
                {"type": "tool_use", "id": ID, "name": "read", "input": {}},
                {"type": "input_json_delta", "partial_json": '{"path": "a"}'},
            ],
            [{"type": "tool_use", "id": "toolu_2", "name": "list", "input": {}}],
        )
    )
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "Yes."},
        {"type": "tool_use", "id": ID, "name": "read", "input": {"path": "a"}},
        {"type": "tool_use", "id": "toolu_2", "name": "list", "input": {}},
    ]
    answer = whole({"id": "msg_1", "type": "message", "role": "assistant", "content": content})
    assert stream.is_complete
    assert stream.answer == answer == Answer(message=sent_back(content=content[1:]))


def test_anthropics_last_event_is_enough() -> None:
    events = anthropic_stream([{"type": "text", "text": "a"}])[:-1]
    assert streamed(*events, {"type": "message_stop"}).answer == Answer(message="assistant 1 0\na")


# --- the Responses API ----------------------------------------------------------------------------------------------

OUTPUT = [
    {"type": "reasoning", "id": "rs_1", "summary": []},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Yes.", "annotations": []}]},
    {"type": "function_call", "id": "fc_1", "call_id": ID, "name": "read", "arguments": '{"path": "a"}'},
]
RESPONSE = {"id": "resp_1", "object": "response", "status": "completed", "output": OUTPUT}
CREATED = {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "output": []}}


@pytest.mark.parametrize("end", ["response.completed", "response.incomplete"])
def test_responses(end: str) -> None:
    stream = streamed(
        CREATED,
        {"type": "response.in_progress", "response": CREATED["response"]},
        {"type": "response.output_text.delta", "delta": "Yes."},
        {"type": end, "response": RESPONSE},
    )
    back = MessageReader().turns([{"role": "assistant", "content": "Yes."}, OUTPUT[2]])
    assert stream.is_complete
    assert stream.answer == whole(RESPONSE) == Answer("resp_1", next(back))


def test_where_only_the_id_is_wanted_the_first_event_is_enough() -> None:
    stream = streamed(CREATED, wants_message=False)
    assert stream.is_complete
    assert stream.answer == whole(RESPONSE, wants_message=False) == Answer("resp_1")


def test_a_response_without_an_id_or_an_output() -> None:
    nameless = {"type": "response.created", "response": {"id": ""}}
    assert not streamed(nameless, wants_message=False).is_complete
    assert streamed(CREATED, {"type": "response.completed", "response": {}}).answer == Answer("resp_1")
    assert whole({"id": 1, "output": []}) == Answer()


def test_deltas_are_not_even_parsed() -> None:
    stream = streamed(CREATED, b'{"type": "response.output_text.delta", "delta": "x"')
    assert stream.answer == Answer("resp_1")


# --- bounds and nonsense --------------------------------------------------------------------------------------------


def test_of_a_long_stream_nothing_is_kept() -> None:
    half = "x" * (MAX_TEXT_CHARS // 2)
    assert streamed(chunk(content=half), chunk(content=half), chunk("stop")).answer.message is not None
    stream = streamed(chunk(content=half), chunk(content=half), chunk(content="x"), chunk(content="y"), chunk("stop"))
    assert stream.is_complete
    assert stream.answer == Answer()
    calls = [[{**call_delta(0, name="f", arguments=half), "id": "c"}]] * 3
    assert streamed(*(chunk(tool_calls=each) for each in calls), chunk("stop")).answer == Answer()


def test_of_very_many_calls_nothing_is_kept() -> None:
    calls = [{**call_delta(index, name="f"), "id": "c"} for index in range(300)]
    assert streamed(chunk(tool_calls=calls[:256]), chunk("stop")).answer.message is not None
    assert streamed(chunk(tool_calls=calls), chunk("stop")).answer == Answer()


def test_of_a_body_with_very_much_in_it_nothing_is_kept() -> None:
    assert whole(body(content=[{"type": "text", "text": "x"}] * 100_000)) == Answer()
    assert whole({**RESPONSE, "output": OUTPUT * 100_000}) == Answer("resp_1")


@pytest.mark.parametrize("message", [None, 1, "x", [], {}, {"choices": []}, {"choices": [{"text": "a"}]}])
def test_a_body_that_is_no_answer(message: object) -> None:
    assert whole(message) == Answer()


@pytest.mark.parametrize(
    "event",
    [
        b"",
        b"[DONE]",
        b"{",
        b"\xff",
        b'{"a":' * 100_000,
        b"{" + b"1" * 10_000,
        {},
        {"choices": None},
        {"choices": [None, {"delta": None}, {"index": [], "delta": {}}, {"delta": {"content": 1}}]},
        {"choices": [{"delta": {"tool_calls": 1}}, {"delta": {"tool_calls": [None, {}, {"index": "x"}]}}]},
        {"choices": [{"delta": {"tool_calls": [{"index": -5, "id": 1, "function": {"name": 1, "arguments": []}}]}}]},
        {"type": 1},
        {"type": "content_block_start", "index": "0", "content_block": {"type": "tool_use"}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": None}},
        {"type": "message_delta", "delta": {"stop_reason": None}},
        {"type": "response.created", "response": None},
        {"type": "response.completed", "response": None},
    ],
)
def test_an_event_that_ends_nothing(event: object) -> None:
    stream = streamed(event, chunk(content="a"))
    assert not stream.is_complete
    stream.feed_event(json.dumps(chunk("stop")).encode())
    assert (stream.answer.message or "").endswith("\na") or "call" in (stream.answer.message or "")
