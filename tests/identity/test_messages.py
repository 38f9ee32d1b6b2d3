"""What of a message counts, and what does not."""

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.identity.messages import EMPTY_ANSWER, MessageReader, is_answer

ID = "chatcmpl-tool-1"


def chat(**message: Any) -> str | None:
    return MessageReader().chat_message(message)


def answer(content: object = None, **more: Any) -> str | None:
    return chat(role="assistant", content=content, **more)


def call(name: str = "f", arguments: object = "{}", call_id: object = ID, **more: Any) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def items(*items: object) -> list[str]:
    return list(MessageReader().messages({"input": list(items)}) or ())


@pytest.mark.parametrize(
    "sent",
    [
        answer("Yes."),
        answer(" Yes.\n"),
        answer([{"type": "text", "text": "Yes."}]),
        answer([{"type": "text", "text": "Ye"}, {"type": "text", "text": "s."}]),
        answer([{"type": "text", "text": "Yes.", "annotations": [], "cache_control": {"type": "ephemeral"}}]),
        answer([{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "Yes."}]),
        answer([{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "Yes."}]),
        answer("<think>hm</think>\n\nYes."),
        answer("Yes.", refusal=None, annotations=[], audio=None, function_call=None, tool_calls=None),
        answer("Yes.", reasoning_content="hm", reasoning="hm", tool_calls=[]),
        answer([None, 1, "x", {"type": "text", "text": "Yes."}]),
    ],
)
def test_ways_to_say_the_same(sent: str | None) -> None:
    assert sent == "assistant 4 0\nYes."


def test_an_answer_without_text() -> None:
    for content in (None, "", [], [{"type": "text", "text": ""}], " \n", 17, {}):
        assert answer(content) == EMPTY_ANSWER
        assert answer(content, tool_calls=[call()]) == answer(None, tool_calls=[call(index=0)]) != EMPTY_ANSWER


def test_what_an_answer_differs_by() -> None:
    messages = [
        answer("Yes."),
        answer("Yes"),
        answer("yes."),
        chat(role="user", content="Yes."),
        chat(role="tool", content="Yes."),
        chat(role="tool", content="Yes.", tool_call_id="a"),
        chat(role="tool", content="Yes.", tool_call_id="b"),
        answer("Yes.", tool_calls=[call()]),
        answer("Yes.", tool_calls=[call(), call(call_id="b")]),
        answer("Yes.", tool_calls=[call("g")]),
        answer("Yes.", tool_calls=[call(call_id="b")]),
        answer("Yes.", tool_calls=[call(call_id="")]),
        answer("Yes.", tool_calls=[call(call_id="", arguments='{"a": 1}')]),
        answer("\ud800"),
        answer("\udcff"),
    ]
    assert len(set(messages)) == len(messages)


def test_a_tool_call_counts_by_its_id_and_without_one_by_its_arguments() -> None:
    assert answer(tool_calls=[call(arguments='{"a":1}')]) == answer(tool_calls=[call(arguments={"a": 1})])
    spaced, tight = call(arguments='{"a": 1}', call_id=None), call(arguments='{"a":1}', call_id="")
    assert answer(tool_calls=[spaced]) == answer(tool_calls=[tight])
    assert answer(tool_calls=[call(arguments=None, call_id=None)]) == answer(tool_calls=[call(arguments={}, call_id=1)])


def test_what_is_no_tool_call_does_not_count() -> None:
    for calls in ([None, "x", {}, {"function": "f"}, {"id": "a", "function": None}], {"id": "a"}, "call", 17):
        assert answer("Yes.", tool_calls=calls) == answer("Yes.")


def test_what_the_system_says_does_not_count() -> None:
    for message in (
        {"role": "system", "content": "s"},
        {"role": "developer", "content": "s"},
        None,
        "x",
        {},
        {"role": 1},
    ):
        assert MessageReader().chat_message(message) is None
    sent = [{"role": "system", "content": "now"}, {"role": "user", "content": "u"}]
    assert list(MessageReader().messages({"messages": sent}) or ()) == ["user 1 0\nu"]


def test_a_role_is_one_of_few() -> None:
    assert chat(role="critic 1 0\nu", content="") == chat(role="x" * 5_000_000, content="") == "other 0 0\n"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"type": "image_url", "image_url": {"url": "data:a"}}, {"type": "image_url", "image_url": {"url": "data:b"}}),
        ({"type": "image_url", "image_url": "data:a"}, {"type": "image_url", "image_url": "data:b"}),
        ({"type": "image", "source": {"type": "base64", "data": "a"}}, {"type": "image", "source": {"data": "b"}}),
        ({"type": "image", "source": {"url": "a"}}, {"type": "document", "source": {"url": "a"}}),
        ({"type": "input_audio", "input_audio": {"data": "a"}}, {"type": "input_audio", "input_audio": {"data": "b"}}),
        ({"type": "file", "file": {"file_id": "a"}}, {"type": "file", "file": {"file_data": "b"}}),
        ({"type": "input_image", "image_url": "a"}, {"type": "input_file", "file_id": "a"}),
        ({"type": "tool_use", "id": "a", "name": "f", "input": {}}, {"type": "tool_use", "id": "b", "name": "f"}),
        ({"type": "tool_result", "tool_use_id": "a"}, {"type": "tool_result", "tool_use_id": "b"}),
        (
            {"type": "tool_result", "tool_use_id": "a", "content": "x"},
            {"type": "tool_result", "tool_use_id": "a", "content": "y"},
        ),
        (
            {"type": "tool_result", "content": [{"type": "image", "source": {"data": "a"}}]},
            {"type": "tool_result", "content": [{"type": "image", "source": {"data": "b"}}]},
        ),
    ],
)
def test_what_parts_differ_by(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert chat(role="user", content=[one]) != chat(role="user", content=[other])
    assert chat(role="user", content=[one]) == chat(role="user", content=[{**one, "cache_control": {"type": "x"}}])


def test_a_tools_result_as_text_or_as_blocks() -> None:
    def result(content: object) -> str | None:
        return chat(role="user", content=[{"type": "tool_result", "tool_use_id": "a", "content": content}])

    assert result("x") == result([{"type": "text", "text": "x"}]) != result(None)


def test_a_part_that_says_nothing_of_itself() -> None:
    assert chat(role="user", content=[{}, {"type": 1}, {"source": {}}, {"source": {"data": 1}}]) is not None


def test_a_long_text_counts_by_its_length_and_its_ends() -> None:
    assert len(answer("a" * 1024) or "") == len("assistant 1024 0\n") + 1024
    long = answer("a" * 600 + "b" * 1_000_000 + "c" * 600) or ""
    assert len(long) < 1100
    assert long == answer("a" * 600 + "x" * 1_000_000 + "c" * 600)
    for other in ("a" * 600 + "b" * 999_999 + "c" * 600, "b" * 1_001_200, "a" * 1_001_200):
        assert long != answer(other)


# --- the Responses API ----------------------------------------------------------------------------------------------


def test_an_input_of_text_is_a_users_message() -> None:
    assert list(MessageReader().messages({"input": "Hi"}) or ()) == items({"role": "user", "content": "Hi"})
    assert items({"role": "user", "content": "Hi"}) == ["user 2 0\nHi"]


def test_items_of_one_turn_are_one_message() -> None:
    said = items(
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "u"}]},
        {"type": "reasoning", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "id": "fc_1"},
        {"type": "web_search_call", "id": "ws"},
        {"type": "function_call_output", "call_id": "c", "output": "o"},
        {"role": "developer", "content": "d"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "o"}]},
        {"role": "assistant", "content": "b"},
    )
    assert [message.partition(" ")[0] for message in said] == ["user", "assistant", "tool", "tool", "assistant"]
    assert said[1] == f"assistant 1 {len('call.c.f.web_search_call.ws')}\nacall\0c\0f\0web_search_call\0ws"
    assert said[2] == said[3]


def test_what_is_no_item_does_not_count() -> None:
    assert items(None, 1, "x", {}, {"role": 1}, {"type": 1}, {"type": None}, {"type": "reasoning"}) == []


@pytest.mark.parametrize("fields", [{}, {"prompt": "p"}, {"messages": "m"}, {"messages": None}, {"input": 1}])
def test_a_body_without_messages(fields: dict[str, Any]) -> None:
    assert MessageReader().messages(fields) is None


# --- bounds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [None] * 1000},
        {"messages": [{"role": "user", "content": "u"}] * 1000},
        {"messages": [{"role": "user", "content": [1] * 1000}] * 2},
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [{}] * 1000}]}] * 2},
        {"messages": [{"role": "assistant", "tool_calls": [{}] * 1000}] * 2},
        {"messages": [{"role": "user", "content": "x" * 1024}] * 50},
        {"input": [{"type": "reasoning"}] * 1000},
        {"input": [{"role": "user", "content": "x" * 1024}] * 50},
    ],
)
def test_reading_ends_when_the_steps_are_used_up(fields: dict[str, Any]) -> None:
    reader = MessageReader(max_steps=100)
    assert len(list(reader.messages(fields) or ())) <= 101
    assert reader.is_spent


def test_no_more_parts_are_looked_at_than_there_are_steps() -> None:
    class Counted(list[Any]):
        num_read = 0

        def __iter__(self) -> Iterator[Any]:
            for value in super().__iter__():
                self.num_read += 1
                yield value

    parts, inner = Counted([{}] * 1000), Counted([{}] * 1000)
    MessageReader(max_steps=100).chat_message({"role": "user", "content": parts})
    MessageReader(max_steps=100).chat_message({"role": "user", "content": [{"type": "tool_result", "content": inner}]})
    assert max(parts.num_read, inner.num_read) <= 101


def test_reading_what_is_there_leaves_steps() -> None:
    reader = MessageReader(max_steps=100)
    assert len(list(reader.messages({"messages": [{"role": "user", "content": "u"}] * 100}) or ())) == 100
    assert not reader.is_spent


def test_who_answers() -> None:
    assert is_answer(EMPTY_ANSWER)
    assert not is_answer(chat(role="user", content="assistant ") or "")
