"""One call as a client sends it: a chat of about a kilobyte and the headers of the usual SDK."""

import json
from collections.abc import Mapping

NAME = "a-name-of-ours"
"""What the load replaces by an application's name, of the same length."""

_SYSTEM = (
    "You are a careful assistant of a company that rents out bicycles. Answer in the language of the question. Look "
    "into the record of the customer before you promise anything, never change a booking without being asked twice, "
    "and name the paragraph of the terms that you rely on. If you need a tool, say which one and why."
)
_USER = (
    "I booked two bicycles for Saturday and one of us is ill now. Can I give one back, do I get the whole price, and "
    "may I keep the other one a day longer instead? The booking is on my brother's name, number 48213, paid by card. "
    "He has told you about it on the telephone on Tuesday, but I have not had a letter since then. We would also like "
    "to know whether the child's seat is still free for Sunday morning, and where we find it if the shop is closed."
)
_SDK_HEADERS = (
    "accept: application/json",
    "user-agent: OpenAI/Python 2.8.0",
    "x-stainless-lang: python",
    "x-stainless-package-version: 2.8.0",
    "x-stainless-os: Linux",
    "x-stainless-arch: x64",
    "x-stainless-runtime: CPython",
    "x-stainless-async: async:asyncio",
    "x-stainless-retry-count: 0",
    "authorization: Bearer sk-0123456789abcdef0123456789abcdef",
)


def request(
    port: int, model: str, max_tokens: int = 32, is_stream: bool = False, headers: Mapping[str, str] | None = None
) -> bytes:
    """The bytes on the wire. `headers` are the contender's own; a value of NAME is filled in by the load."""
    messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _USER}]
    body: dict[str, object] = {"model": model, "messages": messages, "max_tokens": max_tokens, "temperature": 0.2}
    if is_stream:
        body["stream"] = True
    text = json.dumps(body).encode()
    lines = ["POST /v1/chat/completions HTTP/1.1", f"host: 127.0.0.1:{port}", "content-type: application/json"]
    lines += [*_SDK_HEADERS, *(f"{name}: {value}" for name, value in (headers or {}).items())]
    return "\r\n".join([*lines, f"content-length: {len(text)}", "", ""]).encode("ascii") + text
