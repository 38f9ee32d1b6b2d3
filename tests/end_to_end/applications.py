"""Applications as real clients send them, and the order in which the engine took their calls."""

import asyncio
import struct
from collections.abc import Sequence
from typing import Any

import httpx

from tests.fakes.running_gateway import RunningGateway


async def declare(gateway: RunningGateway, application: str, cost: float) -> float:
    """Its virtual finish time."""
    async with gateway.client() as client:
        response = await client.post("/v1/applications", json={"id": application, "expected_cost": cost})
        assert response.status_code in (200, 201), response.text
        return float(response.json()["virtual_finish_time"])


async def call(client: httpx.AsyncClient, application: str, *, prompt_words: int, max_tokens: int) -> httpx.Response:
    return await client.post(
        f"/apps/{application}/v1/completions",
        json={
            "model": "tiny",
            "prompt": f"{application} " + "word " * prompt_words,
            "max_tokens": max_tokens,
            "min_tokens": max_tokens,
            "ignore_eos": True,
        },
    )


async def run_all(
    gateways: Sequence[RunningGateway], applications: Sequence[str], *, calls: int, prompt_words: int, max_tokens: int
) -> list[httpx.Response]:
    """All calls of all applications at once, application i through gateway i modulo their number."""
    clients = [gateway.client() for gateway in gateways]
    try:
        return await asyncio.gather(
            *(
                call(clients[i % len(clients)], application, prompt_words=prompt_words, max_tokens=max_tokens)
                for i, application in enumerate(applications)
                for _ in range(calls)
            )
        )
    finally:
        for client in clients:
            await client.aclose()


def finish_time_of(rank: int) -> float:
    """The engine's integer is the bits of the double."""
    (value,) = struct.unpack(">d", struct.pack(">q", rank))
    return float(value)


def scheduled_order(events: Sequence[dict[str, Any]]) -> list[str]:
    """Applications by their calls' first scheduling."""
    return [event["application_id"].rpartition("/")[2] for event in events if event["event"] == "scheduled"]
