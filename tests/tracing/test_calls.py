"""Spans of calls through the whole gateway, as a collector gets them."""

import asyncio
import time

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.fakes.engine import (
    COMPLETION,
    Conversation,
    FakeVllm,
    Script,
    answers,
    ends,
    resets,
    streams_then,
    waits_for,
)
from tests.fakes.protocols.turns import says
from tests.fakes.scripted_vllm import ScriptedVllm
from tests.http.gateways import running_gateway, until
from tests.tracing.collectors import Collector, attributes

CHAT = "/v1/chat/completions"
ASK = {"model": "tiny", "max_tokens": 9, "messages": [{"role": "user", "content": "a secret question"}]}
EVENT = b'data: {"choices":[{"delta":{"content":"1"},"finish_reason":null}]}\n\n'
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}


async def test_three_spans_one_below_the_other(collector: Collector) -> None:
    async with ScriptedVllm(says("Found it.")) as engine, running_gateway(engine) as gateway:
        began = time.time_ns()
        answer = await gateway.post(f"/apps/demo{CHAT}", ASK)
        spans = await collector.trace(3)
        ended = time.time_ns()

    [server], [queue], [upstream] = spans["chat tiny"], spans["queue"], spans["engine"]
    assert (server.kind, queue.kind, upstream.kind) == (
        Span.SPAN_KIND_SERVER, Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_CLIENT,
    )  # fmt: skip
    assert len({span.trace_id for span in collector.spans}) == 1
    assert len({span.span_id for span in collector.spans}) == 3
    assert server.parent_span_id == b""
    assert queue.parent_span_id == upstream.parent_span_id == server.span_id
    [first_byte] = upstream.events
    times = [
        began, server.start_time_unix_nano, queue.start_time_unix_nano, queue.end_time_unix_nano,
        upstream.start_time_unix_nano, first_byte.time_unix_nano, upstream.end_time_unix_nano,
        server.end_time_unix_nano, ended,
    ]  # fmt: skip
    assert times == sorted(times)
    assert queue.end_time_unix_nano == upstream.start_time_unix_nano
    assert first_byte.name == "first byte"
    of_call = attributes(server)
    assert of_call.pop("justitia.virtual_finish_time") == float(answer.headers["x-justitia-virtual-finish-time"])
    assert of_call.pop("justitia.queue_ms") == pytest.approx(float(answer.headers["x-justitia-queue-ms"]), abs=0.002)
    assert of_call.pop("justitia.rank") > 0
    usage = answer.json()["usage"]
    assert of_call == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "tiny",
        "gen_ai.request.max_tokens": 9,
        "gen_ai.usage.input_tokens": usage["prompt_tokens"],
        "gen_ai.usage.output_tokens": usage["completion_tokens"],
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": CHAT,
        "justitia.application.id": "anonymous/demo",
        "justitia.application.kind": "default",
        "justitia.engine": engine.url.removeprefix("http://"),
        "justitia.identity.rule": "path",
        "justitia.outcome": "completed",
        "justitia.request.id": answer.headers["x-request-id"],
        "justitia.tenant.class": "standard",
    }
    host, port = engine.url.removeprefix("http://").split(":")
    assert attributes(upstream)["server.address"] == host
    assert attributes(upstream)["server.port"] == int(port)
    assert {span.status.code for span in collector.spans} == {Status.STATUS_CODE_UNSET}
    assert collector.resources[0]["service.name"] == "justitia-gateway"
    assert b"secret" not in b"".join(span.SerializeToString() for span in collector.spans)


async def test_the_clients_trace_goes_on_and_the_engine_hangs_below_our_span(
    collector: Collector, engine: FakeVllm
) -> None:
    async with running_gateway(engine) as gateway:
        await gateway.post(CHAT, ASK, headers=SENT)
        spans = await collector.trace(3)
    [server], [upstream] = spans["chat tiny"], spans["engine"]
    assert (server.trace_id.hex(), server.parent_span_id.hex(), server.trace_state) == (TRACE, PARENT, "vendor=1")
    assert server.flags == 0x301  # sampled, and its parent is remote
    told = engine.calls[0]
    assert told.header("traceparent") == f"00-{TRACE}-{upstream.span_id.hex()}-01"
    assert told.header("tracestate") == "vendor=1"
    assert [name for name, _ in told.headers].count("traceparent") == 1


async def test_an_engine_is_given_a_trace_that_no_client_began(collector: Collector, engine: FakeVllm) -> None:
    async with running_gateway(engine) as gateway:
        await gateway.post(CHAT, ASK)
        [upstream] = (await collector.trace(3))["engine"]
    assert engine.calls[0].header("traceparent") == f"00-{upstream.trace_id.hex()}-{upstream.span_id.hex()}-01"
    assert engine.calls[0].header("tracestate") is None


@pytest.mark.parametrize(
    "sent",
    [
        f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-x", f"00-{TRACE.upper()}-{PARENT}-01", "00-" + "a" * 5000, "none", "",
    ],
)  # fmt: skip
async def test_what_is_no_parent_begins_a_new_trace(collector: Collector, engine: FakeVllm, sent: str) -> None:
    async with running_gateway(engine) as gateway:
        assert (await gateway.post(CHAT, ASK, headers={"traceparent": sent, "tracestate": "a=b"})).status_code == 200
        [server] = (await collector.trace(3))["chat tiny"]
    assert (server.parent_span_id, server.trace_state) == (b"", "")
    assert server.trace_id.hex() != TRACE
    assert engine.calls[0].header("tracestate") is None


async def test_a_client_that_does_not_sample_is_followed_by_us_and_the_engine(
    collector: Collector, engine: FakeVllm
) -> None:
    async with running_gateway(engine) as gateway:
        await gateway.post(CHAT, ASK, headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
        await gateway.post(CHAT, ASK)
        await collector.trace(3)
    told = engine.calls[0].header("traceparent") or ""
    assert told.startswith(f"00-{TRACE}-")
    assert told.endswith("-00")
    assert PARENT not in told


async def test_samplers_are_the_standard_ones(
    collector: Collector, engine: FakeVllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    low, high = "0" * 31 + "1", "f" * 32
    async with running_gateway(engine) as gateway:
        for trace_id in (high, low):
            await gateway.post(CHAT, ASK, headers={"traceparent": f"00-{trace_id}-{PARENT}-01"})
        [server] = (await collector.trace(3))["chat tiny"]
    assert server.trace_id.hex() == low
    assert [(call.header("traceparent") or "")[-2:] for call in engine.calls] == ["00", "01"]


async def test_a_stream(collector: Collector) -> None:
    async with ScriptedVllm(says("One two three.")) as engine, running_gateway(engine) as gateway:
        answer = await gateway.post(CHAT, ASK | {"stream": True})
        assert answer.text.endswith("data: [DONE]\n\n")
        spans = await collector.trace(3)
    assert attributes(spans["chat tiny"][0])["gen_ai.usage.output_tokens"] > 0
    assert len(spans["engine"][0].events) == 1


async def test_a_call_made_anew_has_two_engines(collector: Collector) -> None:
    async with FakeVllm() as one, FakeVllm() as other, running_gateway(one, other) as gateway:
        failed: list[FakeVllm] = []

        def first_fails(engine: FakeVllm) -> Script:
            async def script(conversation: Conversation) -> None:
                failed.append(engine)
                await (resets if len(failed) == 1 else answers(COMPLETION))(conversation)

            return script

        for engine in (one, other):
            engine.on_call = first_fails(engine)
        assert (await gateway.post(CHAT, ASK)).status_code == 200
        spans = await collector.trace(5)
        calls = [engine.calls[0] for engine in failed]

    [server] = spans["chat tiny"]
    first, second = spans["engine"]
    assert len(spans["queue"]) == 2
    assert {span.parent_span_id for span in (first, second)} == {server.span_id}
    assert first.status.code == Status.STATUS_CODE_ERROR
    assert first.status.message == attributes(first)["error.type"] == "engine_unreachable"
    assert attributes(first)["justitia.outcome"] == "retried"
    assert second.status.code == server.status.code == Status.STATUS_CODE_UNSET
    assert first.end_time_unix_nano <= second.start_time_unix_nano
    told = [(call.header("traceparent") or "").split("-")[2] for call in calls]
    assert told == [first.span_id.hex(), second.span_id.hex()]
    assert attributes(server)["justitia.engine"] == failed[1].url.removeprefix("http://")


async def test_an_engine_that_fails(collector: Collector, engine: FakeVllm) -> None:
    async with running_gateway(engine) as gateway:
        engine.on_call = streams_then([EVENT], resets)
        await gateway.post(CHAT, ASK | {"stream": True})
        spans = await collector.trace(3)
    for span in (spans["chat tiny"][0], spans["engine"][0]):
        assert (span.status.code, span.status.message) == (Status.STATUS_CODE_ERROR, "engine_unreachable")
    assert attributes(spans["chat tiny"][0])["justitia.outcome"] == "failed"


async def test_an_answer_that_is_the_engines_own_error(collector: Collector, engine: FakeVllm) -> None:
    async with running_gateway(engine) as gateway:
        engine.on_call = answers({"error": "broken"}, 500)
        await gateway.post(CHAT, ASK)
        [server] = (await collector.trace(3))["chat tiny"]
    assert (server.status.code, attributes(server)["error.type"]) == (Status.STATUS_CODE_ERROR, "500")


async def test_refusals(collector: Collector, engine: FakeVllm) -> None:
    async with running_gateway(engine) as gateway:
        assert (await gateway.post(CHAT, ASK, headers={"X-Justitia-Deadline-Ms": "0"})).status_code == 400
        assert (await gateway.post(CHAT, ASK | {"model": "m" * 9999})).status_code == 404
        spans = await collector.trace(3)
    [unread], [unknown], [queue] = spans["chat"], spans["chat " + "m" * 256], spans["queue"]
    assert unread.status.message == "invalid_request"
    assert attributes(unread)["justitia.outcome"] == "rejected"
    assert attributes(unread)["http.response.status_code"] == 400
    assert unknown.status.message == queue.status.message == "model_not_found"
    assert "justitia.engine" not in attributes(unknown)


async def test_a_client_that_leaves(collector: Collector, engine: FakeVllm) -> None:
    gate = asyncio.Event()
    async with running_gateway(engine) as gateway:
        engine.on_call = streams_then([EVENT], waits_for(gate, ends))
        async with gateway.client.stream("POST", CHAT, json=ASK | {"stream": True}) as answer:
            await anext(answer.aiter_bytes())
        spans = await collector.trace(3)
    [server], [upstream] = spans["chat tiny"], spans["engine"]
    assert server.status.message == upstream.status.message == "client_disconnected"
    assert attributes(server)["justitia.outcome"] == "cancelled"
    gate.set()


async def test_prompts_only_where_they_are_wanted(collector: Collector, engine: FakeVllm) -> None:
    long = [{"role": "user", "content": "secret " * 9999}]
    async with running_gateway(engine, tracing={"records_prompts": True}) as gateway:
        for _ in range(2):  # an application's second call, too
            await gateway.post(f"/apps/a{CHAT}", ASK | {"messages": long})
        spans = await collector.trace(6)
    texts = [attributes(span)["justitia.prompt"] for span in spans["chat tiny"]]
    assert [(len(text), "secret" in text) for text in texts] == [(4096, True)] * 2


async def test_a_tenants_class_is_told_and_the_key_is_not(collector: Collector, engine: FakeVllm) -> None:
    tenants = {"api_keys": {"sk-very-secret": "alice"}}
    async with running_gateway(engine, tenants=tenants) as gateway:
        await gateway.post(CHAT, ASK, headers={"authorization": "Bearer sk-very-secret"})
        await gateway.post(CHAT, ASK, headers={"authorization": "Bearer sk-wrong-secret"})
        spans = await collector.trace(4)
    assert attributes(spans["chat tiny"][0])["justitia.tenant.class"] == "standard"
    assert spans["chat"][0].status.message == "authentication_failed"
    assert b"secret" not in b"".join(span.SerializeToString() for span in collector.spans)


async def test_questions_that_take_no_turn_have_no_spans(collector: Collector, engine: FakeVllm) -> None:
    async with running_gateway(engine) as gateway:
        await gateway.client.get("/v1/models")
        await gateway.client.get("/metrics")
        await gateway.post(CHAT, ASK)
        await collector.trace(3)

        async def are_counted() -> bool:
            return await gateway.metric("spans_total", result="sent") == 3

        await until(are_counted)
