"""Anything at all, sent to every API: an answer in the API's shape each time, and nothing is left behind."""

import asyncio
import json
import re
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.http.apis import APIS
from tests.http.gateways import until
from tests.http.listeners import ListeningGateway, gateway_beside, head, raw_client

T = TypeVar("T")
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
bodies = st.binary(max_size=200) | json_values.map(json.dumps).map(str.encode) | fields.map(json.dumps).map(str.encode)
names = st.sampled_from(
    [
        *("x-justitia-application", "x-justitia-kind", "x-justitia-parent", "x-justitia-final"),
        *("x-justitia-expected-cost", "x-justitia-deadline-ms", "traceparent", "baggage", "x-request-id"),
        *("x-session-id", "authorization", "x-api-key", "content-type", "connection", "accept", "cookie"),
    ]
) | st.from_regex(r"[a-z][a-z-]{0,20}", fullmatch=True).filter(
    lambda name: name not in ("content-length", "transfer-encoding", "upgrade", "expect", "host", "te", "trailer")
)
values = st.binary(max_size=60).map(lambda value: re.sub(rb"[\x00-\x08\x0a-\x1f\x7f]", b"", value).strip())
headers = st.lists(st.tuples(names, values), max_size=6)
segments = st.binary(max_size=12).map(lambda raw: quote_from_bytes(raw, safe="@!$&'()*+,;=:~"))
prefixes = (
    st.just("") | segments.map("/apps/{}".format) | st.tuples(segments, segments).map("/apps/{0[0]}/runs/{0[1]}".format)
)
paths = st.lists(segments, max_size=5).map(lambda parts: "/" + "/".join(parts))


class Served:
    def __init__(self, loop: asyncio.AbstractEventLoop, gateway: ListeningGateway) -> None:
        self._loop = loop
        self.gateway = gateway

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


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with gateway_beside() as (loop, gateway, _):
        served = Served(loop, gateway)
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
    assert closed.keys() <= {
        "policy",
        "outcome",
        "rule",
        "engine",
        "application_kind",
        "predictor",
        "cost",
        "le",
        "operation",
    }
    assert closed["outcome"] <= {"completed", "failed", "cancelled", "rejected", "evicted"}
    assert closed["rule"] <= {"path", "header", "session", "body", "trace", "lineage", "none"}
    assert len(closed.get("application_kind", ())) <= 66  # KindRegistry's limit, `default` and `other`
    assert len(exposition) < 200_000


def check(path: str, status: int, content: bytes) -> None:
    assert status < 500, content
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


@pytest.mark.parametrize("root", ["", "/v1", "/apps", "/apps/a/v1", "/v1/responses", "/v1/applications"])
def test_any_path_is_answered(served: Served, root: str) -> None:
    @FUZZ
    @given(st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS"]), paths, headers, bodies)
    def fuzz(method: str, path: str, headers: list[tuple[str, bytes]], body: bytes) -> None:
        status, found, _ = served.ask(method, root + path, headers, body)
        assert status < 500
        assert all(value.isprintable() for value in found.values())

    fuzz()
