"""What a prompt says about its application, whatever was sent."""

from typing import Any

import pytest

from gateway.http.prompts import read_prompt
from gateway.identity import prompt_shape


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {}}}


def test_a_chat() -> None:
    prompt = read_prompt(
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "What is a virtual clock?"},
                {"role": "assistant", "content": "A"},
            ],
            "tools": [tool("search"), {"name": "look_up", "input_schema": {}}],
        }
    )
    assert prompt.text == "What is a virtual clock?"
    assert prompt.num_tools == 2
    assert prompt.shape == prompt_shape("Be brief.", ["search", "look_up"])


def test_parts_of_a_message_and_developers_instructions() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "two"}]
    prompt = read_prompt({"messages": [{"role": "developer", "content": parts}, {"role": "user", "content": parts}]})
    assert prompt.text == "one\ntwo"
    assert prompt.shape == prompt_shape("one\ntwo", [])


@pytest.mark.parametrize(("prompt", "text"), [("once", "once"), (["once", "twice"], "once"), ([1, 2], ""), ([], "")])
def test_a_completion(prompt: object, text: str) -> None:
    assert read_prompt({"prompt": prompt}).text == text
    assert read_prompt({"prompt": prompt}).shape is None


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"messages": None, "tools": None},
        {"messages": "hello", "tools": "all"},
        {"messages": [None, 3, [], {"role": 4}], "tools": [None, 3, {"function": {"name": 5}}, {"name": []}]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": [None, {"text": 3}]}]},
        {"prompt": {"a": 1}},
    ],
)
def test_anything_is_answered(fields: dict[str, Any]) -> None:
    prompt = read_prompt(fields)
    assert (prompt.text, prompt.num_tools, prompt.shape) == ("", 0, None)


def test_what_is_read_is_bounded() -> None:
    huge = {"role": "user", "content": [{"text": "x" * 10**6}] * 1000}
    prompt = read_prompt({"messages": [huge] * 1000, "tools": [tool(str(n)) for n in range(10_000)]})
    assert len(prompt.text) == 4096
    assert prompt.num_tools == 256
