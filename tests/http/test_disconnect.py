import asyncio
from typing import Any

import pytest

from gateway.errors import ClientDisconnected
from gateway.http.disconnect import ClientWatch


class Client:
    """The `receive` of a client that can leave."""

    def __init__(self) -> None:
        self.is_watched = asyncio.Event()
        self.left = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        self.is_watched.set()
        await self.left.wait()
        return {"type": "http.disconnect"}


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_a_client_that_stays_is_left_alone() -> None:
    async with ClientWatch(Client().receive):
        await asyncio.sleep(0)


async def test_leaving_cancels_what_is_inside_and_is_said_outside() -> None:
    client = Client()
    inside: list[str] = []

    async def work() -> None:
        try:
            await for_ever()
        except asyncio.CancelledError:
            inside.append("cancelled")
            raise

    asyncio.get_running_loop().call_soon(client.left.set)
    with pytest.raises(ClientDisconnected):
        async with ClientWatch(client.receive):
            await work()
    assert inside == ["cancelled"]
    await asyncio.sleep(0)  # nothing of the cancellation is left
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_after_the_last_byte_it_is_no_leaving() -> None:
    client = Client()
    async with ClientWatch(client.receive) as watch:
        await client.is_watched.wait()
        watch.stop()
        client.left.set()
        for _ in range(5):
            await asyncio.sleep(0)


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async def serve(client: Client) -> None:
        async with ClientWatch(client.receive):
            await for_ever()

    for leaves_too in (False, True):
        client = Client()
        task = asyncio.create_task(serve(client))
        await client.is_watched.wait()
        if leaves_too:
            client.left.set()  # the watcher is woken first, and cancels it a second time
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_an_error_from_inside_passes() -> None:
    with pytest.raises(KeyError):
        async with ClientWatch(Client().receive):
            raise KeyError
