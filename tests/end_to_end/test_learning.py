"""A gateway learns from its own traffic: real calls, real training, taken into use, kept over a restart and shared."""

import asyncio
import random
import re
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from tests.fakes.running_engine import RunningEngine
from tests.fakes.running_gateway import RunningGateway, running_gateway
from tests.fakes.waiting import until

pytestmark = pytest.mark.engine

NUM_APPLICATIONS = 60
TRAINED = 'justitia_predictor_in_use{policy="justitia",predictor="trained"}'


def learning(folder: Path) -> dict[str, str]:
    return {
        "JUSTITIA_LEARNING__TRAINS": "true",
        "JUSTITIA_LEARNING__FOLDER": str(folder / "learnt"),
        "JUSTITIA_LEARNING__POLL_INTERVAL_S": "0.2",
        "JUSTITIA_APPLICATIONS__IDLE_CLOSE_S": "2",
    }


async def run_application(client: httpx.AsyncClient, number: int, prompt_words: int) -> None:
    """One call, whose cost goes with the length of its prompt: the answer is always as long."""
    response = await client.post(
        "/v1/completions",
        json={
            "model": "tiny",
            "prompt": "word " * prompt_words,
            "max_tokens": 8,
            "min_tokens": 8,
            "ignore_eos": True,
        },
        headers={
            "x-justitia-application": f"reader-{number}",
            "x-justitia-kind": "reader",
            "x-justitia-final": "1",
        },
    )
    assert response.status_code == 200, response.text


async def run_applications(gateway: RunningGateway, count: int, first: int = 0) -> None:
    draw = random.Random(first)
    async with gateway.client() as client, asyncio.TaskGroup() as group:
        for number in range(first, first + count):
            group.create_task(run_application(client, number, draw.choice([5, 20, 80, 200])))


async def metric(gateway: RunningGateway, name: str) -> float:
    async with gateway.client() as client:
        text = (await client.get("/metrics")).text
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


async def predicted_cost(gateway: RunningGateway, name: str, prompt_words: int) -> float:
    """Of an application of that length, from its first call. It stays open for two idle seconds."""
    async with gateway.client() as client:
        await client.post(
            f"/apps/{name}/v1/completions",
            json={"model": "tiny", "prompt": "word " * prompt_words, "max_tokens": 8},
            headers={"x-justitia-kind": "reader"},
        )
        return float((await client.get(f"/v1/applications/{name}")).json()["predicted_cost"])


async def until_trained(gateway: RunningGateway) -> None:
    async def is_trained() -> bool:
        return await metric(gateway, TRAINED) == 1

    await until(is_trained, timeout_s=120)


async def assert_knows_long_from_short(gateway: RunningGateway) -> None:
    long = await predicted_cost(gateway, "long", 200)
    short = await predicted_cost(gateway, "short", 5)
    assert long > 4 * short


async def test_from_its_own_traffic_and_over_a_restart(engine: RunningEngine, tmp_path: Path) -> None:
    environment = learning(tmp_path)
    with running_gateway(tmp_path, "--engine", engine.url, environment=environment) as gateway:
        await run_applications(gateway, NUM_APPLICATIONS)
        await until_trained(gateway)
        await assert_knows_long_from_short(gateway)
        await run_applications(gateway, 20, first=1000)
        within = 'justitia_prediction_interval_total{application_kind="reader",cost="within",policy="justitia"}'

        async def were_closed() -> bool:
            return await metric(gateway, within) >= 5

        await until(were_closed)
        assert "word" not in (tmp_path / "learnt" / "closed.jsonl").read_text().replace('"words"', "")
    with running_gateway(tmp_path, "--engine", engine.url, environment=environment) as gateway:
        await until_trained(gateway)
        await assert_knows_long_from_short(gateway)


@pytest.mark.redis
async def test_of_the_gateways_of_one_redis_one_trains_and_all_know(
    engine: RunningEngine, redis_url: str, tmp_path: Path
) -> None:
    environment: Mapping[str, str] = {**learning(tmp_path), "JUSTITIA_STORE__PREFIX": "learning"}
    flags = ("--engine", engine.url, "--redis", redis_url)
    with (
        running_gateway(tmp_path, *flags, environment=environment) as one,
        running_gateway(tmp_path, *flags, environment=environment) as other,
    ):
        for first, gateway in enumerate((one, other)):
            await run_applications(gateway, NUM_APPLICATIONS // 2, first=1000 * first)
        for gateway in (one, other):
            await until_trained(gateway)
            await assert_knows_long_from_short(gateway)
        logs = [gateway.log() for gateway in (one, other)]
        assert sum(log.count("training begins") for log in logs) == 1
    assert not (tmp_path / "learnt").exists()
