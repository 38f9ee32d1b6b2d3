"""What a call's prompt says about its application: what is asked, which tools are offered, and the prompt's shape.

For prediction only. Whatever a client sends, this answers: what is not as the API has it counts as not there, and the
engine will say what it thinks of it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.identity import prompt_shape
from gateway.values import value

_MAX_CHARACTERS = 4096
"""Of what is asked; more tells no more, and this bounds the time that a hostile prompt can take."""
_MAX_MESSAGES = 256
"""Looked through from either end."""
_SYSTEM_ROLES = ("system", "developer")


@value
class Prompt:
    text: str
    """What is asked: the latest message of the user, or the prompt; at most 4,096 characters."""
    num_tools: int
    shape: str | None
    """See `gateway.identity.shapes`."""


NO_PROMPT = Prompt("", 0, None)


def read_prompt(fields: Mapping[str, Any]) -> Prompt:
    """From the body of a call to any of the APIs."""
    tools = list(_tool_names(fields.get("tools")))
    return Prompt(_asked(fields)[:_MAX_CHARACTERS], len(tools), prompt_shape(_system(fields), tools))


def _asked(fields: Mapping[str, Any]) -> str:
    messages = fields.get("messages", fields.get("input"))
    if isinstance(messages, list) and any(isinstance(message, dict) for message in messages[:1]):
        for message in messages[: -_MAX_MESSAGES - 1 : -1]:
            if isinstance(message, dict) and message.get("role") == "user":
                return _text(message.get("content"))
        return ""
    prompt = fields.get("prompt", fields.get("input"))
    if isinstance(prompt, list) and prompt:
        prompt = prompt[0]
    return prompt if isinstance(prompt, str) else ""


def _system(fields: Mapping[str, Any]) -> str:
    """OpenAI's first message, its `instructions`, or Anthropic's `system`."""
    for name in ("system", "instructions"):
        if fields.get(name):
            return _text(fields[name])
    messages = fields.get("messages", fields.get("input"))
    if isinstance(messages, list) and messages:
        first = messages[0]
        if isinstance(first, dict) and first.get("role") in _SYSTEM_ROLES:
            return _text(first.get("content"))
    return ""


def _text(content: object) -> str:
    """A message's content: a string, or parts of which some are text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part.get("text") for part in content[:_MAX_MESSAGES] if isinstance(part, dict))
    return "\n".join(text[:_MAX_CHARACTERS] for text in texts if isinstance(text, str))


def _tool_names(tools: object) -> Iterator[str]:
    if not isinstance(tools, list):
        return
    for tool in tools[:_MAX_MESSAGES]:
        if isinstance(tool, dict):
            function = tool.get("function")
            name = function.get("name") if isinstance(function, dict) else tool.get("name")
            if isinstance(name, str):
                yield name
