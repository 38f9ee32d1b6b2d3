"""A client may call again as soon as it is told that its answer is over: long before the engine closes the stream."""

import json

import pytest

from tests.fakes.engine import FakeVllm, answers, hangs, streams_then
from tests.http.gateways import RunningGateway

QUESTION = {"role": "user", "content": "What is the capital of the country in question?"}
ANSWER = "It is the city that has the most rivers."


def sse(data: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def delta(content: str, finish_reason: str | None) -> bytes:
    return sse({"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish_reason}]})


SAID = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": ANSWER}]}
RESPONSE = {"id": "resp_1", "output": [SAID]}
WAYS = {
    "/v1/responses": (
        [sse({"type": "response.completed", "response": RESPONSE})],
        {"input": "Hi"},
        {"input": "And now?", "previous_response_id": "resp_1"},
        "body",
    ),
    "/v1/chat/completions": (
        [delta(ANSWER, None), delta("", "stop")],
        {"messages": [QUESTION], "stream_options": {"include_usage": True}},
        {"messages": [QUESTION, {"role": "assistant", "content": ANSWER}, {"role": "user", "content": "Since when?"}]},
        "lineage",
    ),
}


@pytest.mark.parametrize("path", WAYS)
async def test_its_next_call_is_known_while_the_engine_still_holds_the_stream_open(
    engine: FakeVllm, gateway: RunningGateway, path: str
) -> None:
    events, first, second, rule = WAYS[path]
    engine.on_call = streams_then(events, hangs)
    asked = gateway.client.stream("POST", path, json={"model": "tiny", "stream": True} | first)
    async with asked as stream:
        chunks, seen = stream.aiter_bytes(), b""
        while b"".join(events) not in seen:
            seen += await anext(chunks)
        engine.on_call = answers({"x": 1})
        following = await gateway.post(path, {"model": "tiny"} | second)

    assert following.headers["x-justitia-identity"] == rule
    assert following.headers["x-justitia-application"] == stream.headers["x-justitia-application"]
