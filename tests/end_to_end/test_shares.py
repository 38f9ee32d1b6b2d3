"""Who has a share, over two gateways in processes of their own, one Redis and an engine that admits by rank."""

import asyncio
import json
from pathlib import Path

import pytest

from gateway.fairness.shares import SharesName
from tests.fakes.filling_engine import FillingVllm
from tests.fakes.running_gateway import RunningGateway
from tests.fakes.waiting import until

KEYS = {"key-of-the-crowd": "crowd", "key-of-one": "one"}
NUM_IN_CROWD = 16


@pytest.mark.redis
@pytest.mark.parametrize(
    ("shares", "least", "most"), [("application", NUM_IN_CROWD - 2, NUM_IN_CROWD), ("tenant", 0, NUM_IN_CROWD // 2)]
)
async def test_how_many_of_a_crowd_come_before_another_tenants_one(
    tmp_path: Path, redis_url: str, shares: SharesName, least: int, most: int
) -> None:
    """They come to one gateway, it to the other, and is thought to cost a little more than each of them."""
    ended: list[str] = []

    async def call(gateway: RunningGateway, key: str, application: str, cost: int) -> None:
        headers = {"authorization": f"Bearer {key}", "x-justitia-expected-cost": f"{cost}"}
        body = {"model": "tiny", "messages": [{"role": "user", "content": "word" * 100}], "max_tokens": 20}
        async with gateway.client(headers=headers) as client:
            (await client.post(f"/apps/{application}/v1/chat/completions", json=body)).raise_for_status()
        ended.append(application)

    async with FillingVllm(600, max_num_seqs=2, iteration_s=0.01) as engine:
        environment = {
            "JUSTITIA_SCHEDULING__SHARES": shares,
            "JUSTITIA_TENANTS__API_KEYS": json.dumps(KEYS),
            "JUSTITIA_STORE__PREFIX": f"shares-{shares}",
        }
        flags = ("--engine", engine.url, "--redis", redis_url)
        starts = (asyncio.to_thread(RunningGateway, tmp_path, *flags, environment=environment) for _ in range(2))
        gateways = await asyncio.gather(*starts)
        try:
            crowd = [
                asyncio.create_task(call(gateways[0], "key-of-the-crowd", f"crowd-{number}", 3000))
                for number in range(NUM_IN_CROWD)
            ]
            await until(lambda: _is_full(engine))
            one = asyncio.create_task(call(gateways[1], "key-of-one", "one", 4000))
            await asyncio.wait_for(asyncio.gather(one, *crowd), 60)
        finally:
            await asyncio.gather(*(asyncio.to_thread(gateway.stop) for gateway in gateways))
    assert least <= ended.index("one") <= most


async def _is_full(engine: FillingVllm) -> bool:
    return len(engine.running) == engine.max_num_seqs
