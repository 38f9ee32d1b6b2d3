"""Reading an engine: figures as vLLM words them, and engines that are none."""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from gateway.demo.meter import EngineMeter, EngineReading, EngineTokenizer, EngineUnusable, ServedModel, readings

METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 3.0
vllm:num_requests_waiting{engine="0",model_name="tiny"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.9263157894736842
vllm:num_preemptions_total{engine="0",model_name="tiny"} 7.0
vllm:num_preemptions_created{engine="0",model_name="tiny"} 1.79e+09
vllm:iteration_tokens_total_count{engine="0",model_name="tiny"} 1e+03
vllm:prefix_cache_queries_total{engine="0",model_name="tiny"} 400.0
vllm:prefix_cache_hits_total{engine="0",model_name="tiny"} 100.0
vllm:cache_config_info{block_size="32",engine="0",num_gpu_blocks="96",num_gpu_blocks_override="None"} 1.0
"""

Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url="http://engine", transport=httpx.MockTransport(handler))


def always(text: str, status: int = 200) -> Handler:
    return lambda request: httpx.Response(status, text=text)


async def test_a_reading() -> None:
    async with client(always(METRICS)) as connection:
        meter = EngineMeter(connection)

        assert await meter.read() == EngineReading(0.9263157894736842, 3, 2, 7, 1000, 400, 100)
        assert await meter.capacity() == (96, 32)


async def test_several_engine_cores_are_added_up_but_for_their_usage() -> None:
    second = METRICS.replace('engine="0"', 'engine="1"').replace("0.9263157894736842", "0.5")
    async with client(always(METRICS + second)) as connection:
        reading = await EngineMeter(connection).read()

    assert reading.num_running == 6
    assert reading.kv_usage == pytest.approx((0.9263157894736842 + 0.5) / 2)


async def test_the_served_model() -> None:
    listing = '{"data": [{"id": "tiny", "max_model_len": 2048}, {"id": "lora"}]}'
    async with client(always(listing)) as connection:
        assert await EngineMeter(connection).model() == ServedModel("tiny", 2048)


@pytest.mark.parametrize("text", ["", "<html>", '{"data": []}', '{"data": [{"id": "gpt"}]}'])
async def test_a_server_that_is_not_vllm(text: str) -> None:
    async with client(always(text)) as connection:
        meter = EngineMeter(connection)
        with pytest.raises(EngineUnusable, match="is it a vLLM server"):
            await meter.model()
        with pytest.raises(EngineUnusable, match="lack vllm:kv_cache_usage_perc"):
            await meter.read()
        with pytest.raises(EngineUnusable, match="size of the KV memory"):
            await meter.capacity()


async def test_an_engine_that_answers_with_an_error() -> None:
    async with client(always("", 500)) as connection:
        with pytest.raises(EngineUnusable, match="GET /metrics: HTTPStatusError"):
            await EngineMeter(connection).read()
        with pytest.raises(EngineUnusable, match="POST /tokenize"):
            await EngineTokenizer(connection, "tiny").count([{"role": "user", "content": "Hi"}])


async def test_idle_is_when_nothing_runs_and_nothing_waits() -> None:
    busy = METRICS.replace('running{engine="0",model_name="tiny"} 3.0', 'running{engine="0",model_name="tiny"} 0.0')
    idle = busy.replace('waiting{engine="0",model_name="tiny"} 2.0', 'waiting{engine="0",model_name="tiny"} 0.0')
    left = [METRICS, busy, idle]
    async with client(lambda request: httpx.Response(200, text=left.pop(0))) as connection:
        reading = await EngineMeter(connection).until_idle()

    assert (reading.num_running, reading.num_waiting, left) == (0, 0, [])


async def test_readings_begin_at_once_and_stop_with_their_context() -> None:
    was_read = asyncio.Event()

    def handler(request: httpx.Request) -> httpx.Response:
        was_read.set()
        return httpx.Response(200, text=METRICS)

    async with client(handler) as connection:
        async with readings(EngineMeter(connection)) as taken:
            await was_read.wait()
            await asyncio.sleep(0)
        assert len(taken) <= 1
        assert len(asyncio.all_tasks()) == 1


async def test_an_engine_that_dies_under_the_readings_is_told_of() -> None:
    failed = asyncio.Event()

    def handler(request: httpx.Request) -> httpx.Response:
        failed.set()
        return httpx.Response(502)

    async with client(handler) as connection:
        with pytest.raises(EngineUnusable, match="502"):
            await _watched(EngineMeter(connection), failed)


async def _watched(meter: EngineMeter, failed: asyncio.Event) -> None:
    others = asyncio.all_tasks()
    async with readings(meter):
        (reader,) = asyncio.all_tasks() - others
        await failed.wait()
        await asyncio.wait([reader])
