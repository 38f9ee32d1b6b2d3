"""A collector that is busy, away or silent: calls go on, and what is kept for it is bounded."""

import asyncio
import logging
import time

import pytest

from tests.fakes.engine import FakeVllm
from tests.http.gateways import RunningGateway, running_gateway, until
from tests.tracing.collectors import Collector

CHAT = "/v1/chat/completions"
ASK = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}


async def spans(gateway: RunningGateway, result: str) -> float:
    return await gateway.metric("spans_total", result=result)


async def test_one_that_is_silent_costs_no_call_anything(
    collector: Collector, engine: FakeVllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "6")
    for_ever = asyncio.Event()

    async def never(_: int) -> int:
        await for_ever.wait()
        return 200

    collector.says = never
    async with running_gateway(engine) as gateway:
        for _ in range(12):
            answer = await gateway.post(CHAT, ASK)
            assert answer.status_code == 200
            assert float(answer.headers["x-justitia-overhead-ms"]) < 1000
        await collector.asked(1)

        async def all_but_two_batches_are_dropped() -> bool:  # one on its way, one in the queue
            return await spans(gateway, "dropped") >= 36 - 6 - 6

        await until(all_but_two_batches_are_dropped)
        assert await spans(gateway, "sent") == 0
        began = time.monotonic()
    assert time.monotonic() - began < 10
    for_ever.set()


async def test_one_that_is_away_is_told_once(
    engine: FakeVllm, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:secret@127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    async with running_gateway(engine) as gateway:
        for number in (1, 2):
            assert (await gateway.post(CHAT, ASK)).status_code == 200

            async def are_dropped(number: int = number) -> bool:
                return await spans(gateway, "dropped") == 3 * number

            await until(are_dropped)
    told = [line for line in caplog.messages if "spans are not taken" in line]
    assert len(told) == 1
    assert "http://127.0.0.1:1/v1/traces" in told[0]
    assert "secret" not in told[0]


async def test_one_that_is_busy_is_asked_again_and_one_that_refuses_is_not(
    collector: Collector, engine: FakeVllm, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    statuses = iter([503, 200, 400, 200])

    async def by_turns(_: int) -> int:
        return next(statuses)

    collector.says = by_turns
    async with running_gateway(engine) as gateway:
        await gateway.post(CHAT, ASK)
        await collector.trace(3)
        await gateway.post(CHAT, ASK)
        await collector.asked(3)
        await until(lambda: "it refuses: 400" in caplog.text)
        await gateway.post(CHAT, ASK)
        await collector.trace(6)
        assert await spans(gateway, "dropped") == 3
        await until(lambda: "again" in caplog.text)


async def test_headers_and_compression(collector: Collector, engine: FakeVllm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20k")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "front")
    async with running_gateway(engine) as gateway:
        await gateway.post(CHAT, ASK)
        await collector.trace(3)
    assert collector.headers[0]["authorization"] == "Bearer k"
    assert collector.headers[0]["content-encoding"] == "gzip"
    assert collector.resources[0]["service.name"] == "front"


async def test_what_is_left_is_sent_at_the_end(
    collector: Collector, engine: FakeVllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    async with running_gateway(engine) as gateway:
        await gateway.post(CHAT, ASK)
    await collector.trace(3)
