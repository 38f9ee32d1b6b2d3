"""Anything at all, sent to every API or answered by an engine: an answer in the API's shape each time, an engine's own
byte for byte, and nothing is left behind."""

import asyncio
import json
import re
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar
from urllib.parse import quote_from_bytes

import httpx
import numpy  # noqa: F401  # by this thread, before the gateway's and Hypothesis's import it at the same moment
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.http.apis import APIS
from gateway.scheduling.model import Outcome
from tests.fakes.engine import Conversation, FakeVllm, Script, streams
from tests.http.gateways import until
from tests.http.listeners import ListeningGateway, gateway_beside, head, raw_client

T = TypeVar("T")
MAX_VALUES = 100
"""Of one label, after many more calls than that: no client chooses them, but for kinds, which have a limit."""
FIELDS = (
    *("messages", "input", "prompt", "system", "tools", "metadata", "stream", "stream_options", "max_tokens"),
    *("previous_response_id", "conversation", "max_output_tokens", "priority", "prompt_cache_key"),
)
FUZZ = settings(max_examples=60, suppress_health_check=list(HealthCheck))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
fields = st.fixed_dictionaries(
    {"model": st.just("tiny") | json_values},
    optional=dict.fromkeys(FIELDS, json_values),
)

# A body with every field that anything here reads, each with what is read of it: then some are left out, and some of
# what is inside the others is replaced. Blind chance would hardly ever reach that deep.
USUAL: Any = {
    "messages": [
        {"role": "system", "content": "Be fair."},
        {"role": "user", "content": [{"type": "text", "text": "Who is next?"}, {"type": "image_url"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": ""}}],
        },
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "found"},
    ],
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "found"},
    ],
    "prompt": [[1, 2], [3]],
    "system": [{"type": "text", "text": "Be fair."}],
    "instructions": "Be fair.",
    "tools": [{"type": "function", "function": {"name": "f"}}, {"name": "g"}],
    "metadata": {"application_id": "a", "user_id": '{"session_id": "s"}'},
    "stream": True,
    "stream_options": {"include_usage": True},
    "conversation": {"id": "conv_1"},
    "previous_response_id": "resp_1",
    "prompt_cache_key": "k",
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "max_output_tokens": 5,
    "priority": 1,
}


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to everything in it."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        yield (*place, step)
        yield from places(inner, (*place, step))


def replaced(body: Any, place: tuple[Any, ...], by: object) -> Any:
    if not place:
        return by
    if isinstance(body, dict):
        return {key: replaced(inner, place[1:], by) if key == place[0] else inner for key, inner in body.items()}
    return [replaced(inner, place[1:], by) if step == place[0] else inner for step, inner in enumerate(body)]


@st.composite
def near_misses(draw: st.DrawFn) -> Any:
    """Each place of all is as likely as any other."""
    misses = draw(st.lists(st.sampled_from(list(places(USUAL))), min_size=1, max_size=2))
    besides = draw(st.lists(st.sampled_from(sorted(USUAL)), max_size=3))
    kept = {key: USUAL[key] for key in [*besides, *(place[0] for place in misses)]}
    for place in misses:
        if place in set(places(kept)):  # not within what was just replaced
            kept = replaced(kept, place, draw(json_values | st.sampled_from(ODD)))
    return {"model": "tiny"} | kept


ODD: list[Any] = [0, 1, -1, True, 1e308, 10**30, "", "x", "{", '{"session_id": []}', "\ud800"]
ODD += [[], [None], [0], {}, {"id": 1}, {"": ""}]
bodies = st.binary(max_size=200) | (json_values | fields | near_misses()).map(json.dumps).map(str.encode)
names = st.sampled_from(
    [
        *("x-justitia-application", "x-justitia-kind", "x-justitia-parent", "x-justitia-final"),
        *("x-justitia-expected-cost", "x-justitia-deadline-ms", "traceparent", "baggage", "x-request-id"),
        *("x-session-id", "authorization", "x-api-key", "content-type", "connection", "accept", "cookie"),
    ]
) | st.from_regex(r"[a-z][a-z-]{0,20}", fullmatch=True).filter(
    lambda name: name not in ("content-length", "transfer-encoding", "upgrade", "expect", "host", "te", "trailer")
)
ODD_VALUES = [b"nan", b"inf", b"-inf", b"1e400", b"-0", b"1e-400", b"1_0", b"%ff", b"session.id=%ff%00", b"\xff\xfe"]
values = st.binary(max_size=60).map(
    lambda value: re.sub(rb"[\x00-\x08\x0a-\x1f\x7f]", b"", value).strip()
) | st.sampled_from(ODD_VALUES)
NUMBERS = ("x-justitia-expected-cost", "x-justitia-deadline-ms", "x-justitia-final")
numbers = st.tuples(st.sampled_from(NUMBERS), st.sampled_from(ODD_VALUES))
headers = st.lists(st.tuples(names, values) | numbers, max_size=6)
segments = st.binary(max_size=12).map(lambda raw: quote_from_bytes(raw, safe="@!$&'()*+,;=:~"))
prefixes = (
    st.just("") | segments.map("/apps/{}".format) | st.tuples(segments, segments).map("/apps/{0[0]}/runs/{0[1]}".format)
)
paths = st.lists(segments, max_size=5).map(lambda parts: "/" + "/".join(parts))


class Served:
    def __init__(self, loop: asyncio.AbstractEventLoop, gateway: ListeningGateway, engine: FakeVllm) -> None:
        self._loop = loop
        self.gateway = gateway
        self._engine = engine

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def ask(self, method: str, path: str, headers: list[tuple[str, bytes]], body: bytes) -> tuple[int, Any, bytes]:
        """(status, headers, body) of the one answer."""

        async def work() -> tuple[int, Any, bytes]:
            lines = [name.encode() + b": " + value for name, value in headers]
            sent = head(path, b"content-length: %d" % len(body), b"connection: close", *lines, method=method) + body
            async with raw_client(self.gateway, sent) as client:
                status, found, content = await client.answer()
                return status, found, content + await client.rest()

        return self.run(work())

    def ask_of(self, script: Script, path: str, body: dict[str, Any]) -> httpx.Response:
        """An engine that answers by the script."""

        async def work() -> httpx.Response:
            usual, self._engine.on_call = self._engine.on_call, script
            try:
                return await self.gateway.post(path, body)
            finally:
                self._engine.on_call = usual

        return self.run(work())


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with gateway_beside() as (loop, gateway, engine):
        served = Served(loop, gateway, engine)
        before = served.run(_tasks())
        yield served
        served.run(_nothing_is_left(gateway, before))


async def _tasks() -> int:
    return len(asyncio.all_tasks())


async def _nothing_is_left(gateway: ListeningGateway, num_tasks: int) -> None:
    await gateway.is_calm_again()
    await until(lambda: len(asyncio.all_tasks()) <= num_tasks + 2)  # this one, and one that was at work before
    exposition = (await gateway.client.get("/metrics")).text
    labels = set(re.findall(r'(\w+)="([^"]*)"', exposition))
    closed = {name: {value for key, value in labels if key == name} for name, _ in labels}
    assert {name: len(values) for name, values in closed.items() if len(values) > MAX_VALUES} == {}
    assert closed.get("outcome", set()) <= set(Outcome)
    assert closed.get("rule", set()) <= {"path", "header", "session", "body", "trace", "lineage", "none"}
    assert len(closed.get("application_kind", ())) <= 66  # KindRegistry's limit, `default` and `other`
    assert len(exposition) < 200_000


def check(path: str, status: int, content: bytes) -> None:
    """A deadline that was asked for may pass: that is an answer, and no failure of ours."""
    assert status < 500 or (status == 503 and b'"queue_timeout"' in content), content
    if status >= 400:
        answer = json.loads(content)
        assert set(answer["error"]) == {"message", "type", "param", "code"}
        assert len(content) < 1000
        is_anthropic = path.endswith(("/v1/messages", "/v1/messages/count_tokens"))
        assert (answer.get("type") == "error") == is_anthropic


@pytest.mark.parametrize("path", sorted(APIS))
def test_any_body_of_any_api_is_answered(served: Served, path: str) -> None:
    @FUZZ
    @given(prefixes, headers, bodies)
    def fuzz(prefix: str, headers: list[tuple[str, bytes]], body: bytes) -> None:
        whole = (prefix if path.startswith("/v1/") else "") + path
        status, _, content = served.ask("POST", whole, headers, body)
        if status != 404:  # an application's name may take the path elsewhere
            check(path, status, content)

    fuzz()


@pytest.mark.parametrize("path", sorted(path for path, api in APIS.items() if api.takes_turn))
def test_a_usual_body_with_anything_in_it_is_answered(served: Served, path: str) -> None:
    @settings(FUZZ, max_examples=100)
    @given(near_misses(), st.lists(numbers, max_size=1))
    def fuzz(body: dict[str, Any], headers: list[tuple[str, bytes]]) -> None:
        status, _, content = served.ask("POST", path, headers, json.dumps(body).encode())
        check(path, status, content)

    fuzz()


@pytest.mark.parametrize("name", NUMBERS)
def test_any_number_in_a_header_is_answered(served: Served, name: str) -> None:
    for value in ODD_VALUES:
        body = json.dumps({"model": "tiny", "prompt": f"{name} {value!r}"}).encode()
        status, _, content = served.ask("POST", "/v1/completions", [(name, value)], body)
        check("/v1/completions", status, content)


@pytest.mark.parametrize("root", ["", "/v1", "/apps", "/apps/a/v1", "/v1/responses", "/v1/applications"])
def test_any_path_is_answered(served: Served, root: str) -> None:
    @FUZZ
    @given(st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS"]), paths, headers, bodies)
    def fuzz(method: str, path: str, headers: list[tuple[str, bytes]], body: bytes) -> None:
        status, found, _ = served.ask(method, root + path, headers, body)
        assert status < 500
        assert all(value.isprintable() for value in found.values())

    fuzz()


# --- what engines answer --------------------------------------------------------------------------------------------

STREAMED: dict[str, Any] = {
    "/v1/chat/completions": {
        "messages": [{"role": "user", "content": "Hi"}],
        "stream_options": {"include_usage": True},
    },
    "/v1/completions": {"prompt": "Hi", "stream_options": {"include_usage": True}},
    "/v1/responses": {"input": "Hi"},
    "/v1/messages": {"messages": [{"role": "user", "content": "Hi"}]},
}
"""Of which a client sees all that the engine sends: nothing is to be hidden."""
SAID: Any = [
    {"id": "c", "choices": [], "usage": "none"},
    {"id": "c", "choices": [{"index": 0, "message": {"content": "ü"}}], "usage": [3]},
    {"id": "c", "choices": [{"index": 0, "delta": {"content": "Grüße – 你好 🙂", "tool_calls": [{"index": 0}]}}]},
    {"id": "c", "choices": [{"index": 0, "message": {"content": "ü"}, "finish_reason": "stop"}]},
    {"id": "c", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
    {"type": "response.created", "response": {"id": "resp_ü", "usage": None}},
    {
        "type": "response.completed",
        "response": {"id": "r", "output": [{"type": "message"}], "usage": {"input_tokens": 1}},
    },
    {"type": "message_start", "message": {"id": "m", "content": [], "usage": {"input_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "t", "name": "ü"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "日本"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
]


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Of an engine, or nearly."""
    message = draw(st.sampled_from(SAID))
    for place in draw(st.lists(st.sampled_from(list(places(message))), max_size=1)):
        message = replaced(message, place, draw(json_values | st.sampled_from(ODD)))
    text = json.dumps(message, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 3)) == 0 else text


@st.composite
def cut_streams(draw: st.DrawFn) -> list[bytes]:
    """Events, cut wherever it may be: inside a character too."""
    events = st.tuples(
        st.sampled_from([b"", b"event: message\n", b": waits\n\n"]),
        messages() | st.binary(max_size=30) | st.just(b"[DONE]"),
        st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r", b"\n", b""]),
    ).map(lambda event: event[0] + b"data: " + event[1] + event[2])
    whole = b"".join(draw(st.lists(events, min_size=1, max_size=5)))
    cuts = sorted(draw(st.lists(st.integers(1, len(whole)), max_size=12)))
    return [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True) if begin < end]


@pytest.mark.parametrize("path", STREAMED)
def test_any_stream_of_an_engine_reaches_the_client_byte_for_byte(served: Served, path: str) -> None:
    @FUZZ
    @given(cut_streams())
    def fuzz(chunks: list[bytes]) -> None:
        answer = served.ask_of(streams(*chunks), path, STREAMED[path] | {"model": "tiny", "stream": True})
        assert (answer.status_code, answer.content) == (200, b"".join(chunks))

    fuzz()


@pytest.mark.parametrize("path", STREAMED)
def test_any_body_of_an_engine_reaches_the_client_byte_for_byte(served: Served, path: str) -> None:
    @FUZZ
    @given(st.sampled_from([200, 200, 200, 404, 500]), messages() | st.binary(max_size=60))
    def fuzz(status: int, body: bytes) -> None:
        async def script(conversation: Conversation) -> None:
            await conversation.answer(status, body)

        answer = served.ask_of(script, path, {**STREAMED[path], "model": "tiny", "stream_options": None})
        assert (answer.status_code, answer.content) == (status, body)

    fuzz()
