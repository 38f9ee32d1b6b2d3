"""The APIs beside chat and completions: where each goes, what is read of it, and the shape of its errors."""

import json

import pytest

from gateway.errors import EngineUnreachable, QueueFull
from gateway.fairness.units import Tokens
from gateway.http.apis import APIS
from gateway.http.errors import error_body, error_event
from gateway.http.usage import UsageReader, usage_of
from gateway.scheduling.model import Usage
from tests.fakes.engine import Conversation, FakeVllm, answers, resets, streams, streams_then
from tests.http.gateways import RunningGateway, running_gateway

ASK = {"model": "tiny", "input": "Hi", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
MESSAGE = {"id": "msg_1", "type": "message", "usage": {"input_tokens": 5, "output_tokens": 2}}
UNKNOWN = {"error": {"message": "no such response", "code": 404}}


def sse(event: str, **fields: object) -> bytes:
    return f"event: {event}\ndata: {json.dumps({'type': event} | fields)}\n\n".encode()


async def closes(_: Conversation) -> None:
    """In the middle of the answer, but what was written arrives."""


# --- where they go ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(APIS))
@pytest.mark.parametrize("prefix", ["", "/apps/a/runs/b"])
async def test_every_api_reaches_the_engine_unchanged(
    engine: FakeVllm, gateway: RunningGateway, path: str, prefix: str
) -> None:
    if prefix and not path.startswith("/v1/"):
        return  # an application's URL goes on with /v1
    body = json.dumps(ASK | {"unknown": [1.0]}).encode()
    engine.on_call = answers({"x": 1})
    answer = await gateway.client.post(prefix + path, content=body)
    assert (answer.status_code, answer.json()) == (200, {"x": 1})
    [sent] = [request for request in engine.received if request.method == "POST"]
    assert (sent.path, sent.body) == (APIS[path].engine_path, body)


async def test_what_runs_no_model_takes_no_turn(engine: FakeVllm, gateway: RunningGateway) -> None:
    engine.on_call = answers({"count": 3, "tokens": [1, 2, 3]})
    answer = await gateway.post("/v1/tokenize", {"model": "tiny", "prompt": "a b c"})
    assert answer.json() == {"count": 3, "tokens": [1, 2, 3]}
    assert "x-justitia-queue-ms" not in answer.headers
    assert await gateway.metric("calls_total") == 0


async def test_a_question_goes_to_an_engine_that_can_answer(engine: FakeVllm) -> None:
    async with FakeVllm(("large",)) as other, running_gateway(engine, other) as gateway:
        other.on_call = answers({"count": 1})
        assert (await gateway.post("/v1/tokenize", {"model": "large", "prompt": "x"})).json() == {"count": 1}
        missing = await gateway.post("/v1/tokenize", {"model": "nobody's", "prompt": "x"})
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
        nameless = await gateway.post("/v1/tokenize", {"prompt": "x"})
        assert (nameless.status_code, nameless.json()["error"]["param"]) == (400, "model")


async def test_a_question_is_asked_again_of_the_next_engine(engine: FakeVllm) -> None:
    async with FakeVllm() as other, running_gateway(engine, other) as gateway:
        engine.on_call = resets
        other.on_call = answers({"count": 1})
        for _ in range(2):
            answer = await gateway.post("/v1/messages/count_tokens", ASK)
            assert (answer.status_code, answer.json()) == (200, {"count": 1})


# --- stored responses -------------------------------------------------------------------------------------------------


async def test_a_stored_response_is_found_where_it_is(engine: FakeVllm) -> None:
    async with FakeVllm() as other, running_gateway(engine, other) as gateway:
        engine.on_call = answers(UNKNOWN, 404)
        other.on_call = answers({"id": "resp_1"})
        found = await gateway.client.get("/v1/responses/resp_1?stream=false&starting_after=2")
        assert (found.status_code, found.json()) == (200, {"id": "resp_1"})
        assert other.received[-1].path == "/v1/responses/resp_1?stream=false&starting_after=2"
        cancelled = await gateway.post("/apps/a/v1/responses/resp_1/cancel")
        assert cancelled.status_code == 200
        assert (other.received[-1].method, other.received[-1].path) == ("POST", "/v1/responses/resp_1/cancel")

        other.on_call = answers(UNKNOWN, 404)
        missing = await gateway.client.get("/v1/responses/resp_2")
        assert (missing.status_code, missing.json()) == (404, UNKNOWN)

        await other.stop()
        unknown = await gateway.client.get("/v1/responses/resp_2")
        assert unknown.status_code == 502, "the one that is down may have it"


@pytest.mark.parametrize("name", ["..", ".", "a/b", "a%2Fb", "x" * 300, "a%09b"])
async def test_what_is_no_responses_id_never_reaches_an_engine(
    engine: FakeVllm, gateway: RunningGateway, name: str
) -> None:
    before = len([request for request in engine.received if "responses" in request.path])
    answer = await gateway.client.get(f"{gateway.url}/v1/responses/{name}")
    assert answer.status_code in (404, 405)
    assert len([request for request in engine.received if "responses" in request.path]) == before


async def test_the_other_method_is_refused(gateway: RunningGateway) -> None:
    for path in ("/v1/responses", "/v1/messages", "/v1/responses/resp_1/cancel"):
        answer = await gateway.client.get(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    answer = await gateway.post("/v1/responses/resp_1")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


# --- errors -----------------------------------------------------------------------------------------------------------


async def test_errors_have_the_shape_of_their_api(gateway: RunningGateway) -> None:
    theirs = await gateway.post("/v1/messages", {"max_tokens": 3})
    assert theirs.status_code == 400
    error = theirs.json()
    assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")
    assert (error["error"]["code"], error["error"]["param"]) == ("invalid_request", "model")
    assert error["request_id"] == theirs.headers["x-request-id"]
    ours = await gateway.post("/v1/responses", {"input": "x"})
    assert ours.json()["error"] | {"message": ""} == {
        "message": "", "type": "invalid_request_error", "param": "model", "code": "invalid_request",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("error", "kind"), [(QueueFull("x"), "rate_limit_error"), (EngineUnreachable("x"), "api_error")]
)
def test_anthropics_types_go_by_status(error: QueueFull, kind: str) -> None:
    assert error_body(error, "anthropic", "r")["error"] == {
        "type": kind, "message": "x", "code": error.code, "param": None,
    }  # fmt: skip
    assert error_event(error, "anthropic", "r").startswith(b"event: error\ndata: {")


async def test_a_broken_message_stream_ends_in_an_error_event(engine: FakeVllm, gateway: RunningGateway) -> None:
    start = sse("message_start", message=MESSAGE)
    engine.on_call = streams_then([start], closes)
    answer = await gateway.post("/v1/messages", ASK | {"stream": True})
    events = answer.content.split(b"\n\n")
    assert events[0] + b"\n\n" == start
    assert events[1].startswith(b"event: error\ndata: ")
    assert json.loads(events[1].partition(b"data: ")[2])["error"]["code"] == "engine_unreachable"


# --- usage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        MESSAGE,
        {"usage": {"prompt_tokens": 5, "completion_tokens": 2}},
        {"object": "response", "usage": {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}},
        {"usage": {"input_tokens": 1, "cache_read_input_tokens": 4, "output_tokens": 2}},
    ],
)
def test_usage_is_read_in_every_spelling(body: object) -> None:
    assert usage_of(body) == Usage(Tokens(5), Tokens(2))


@pytest.mark.parametrize("usage", [{}, {"output_tokens": 3}, {"input_tokens": -1}, {"input_tokens": "5"}, None, []])
def test_usage_that_makes_no_sense_is_none(usage: object) -> None:
    assert usage_of({"usage": usage}) is None


def test_a_message_stream_tells_its_usage_in_two_parts() -> None:
    reader = UsageReader(hides_usage=False)
    stream = [
        sse("message_start", message={"usage": {"input_tokens": 5, "output_tokens": 0}}),
        sse("content_block_delta", delta={"text": "hi"}),
        sse("message_delta", usage={"input_tokens": 0, "output_tokens": 2}),
    ]
    assert b"".join(reader.feed(event) for event in stream) == b"".join(stream)
    assert reader.usage == Usage(Tokens(5), Tokens(2))


async def test_a_response_stream_is_charged_by_its_last_event(engine: FakeVllm, gateway: RunningGateway) -> None:
    response = {"id": "resp_1", "usage": None}
    stream = [
        sse("response.created", response=response),
        sse("response.output_text.delta", delta="hi"),
        sse("response.completed", response=response | {"usage": {"input_tokens": 9, "output_tokens": 3}}),
    ]
    engine.on_call = streams(*stream)
    headers = {"X-Justitia-Application": "a"}
    answer = await gateway.post("/v1/responses", ASK | {"stream": True}, headers=headers)
    assert answer.content == b"".join(stream)
    assert b"include_usage" not in engine.calls[0].body
    described = (await gateway.client.get("/v1/applications/a")).json()
    assert described["calls_running"] == 0
    assert await gateway.metric("calls_total", outcome="completed") == 1


async def test_an_engine_that_breaks_off_before_its_answer_is_an_error(
    engine: FakeVllm, gateway: RunningGateway
) -> None:
    engine.on_call = resets
    answer = await gateway.post("/v1/embeddings", ASK)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_unreachable")
