import secrets
from collections.abc import AsyncIterator

import pytest

from gateway.ports import StateStore
from gateway.stores.memory import MemoryStore
from gateway.stores.redis import RedisStore


@pytest.fixture
async def redis_store(redis_url: str) -> AsyncIterator[RedisStore]:
    """An empty store on the shared server, under keys of its own."""
    store = RedisStore(redis_url, prefix=f"{{test:{secrets.token_hex(8)}}}", timeout_s=10)
    yield store
    await store.wipe()
    await store.aclose()


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def store(request: pytest.FixtureRequest) -> StateStore:
    if request.param == "memory":
        return MemoryStore()
    found: StateStore = request.getfixturevalue("redis_store")
    return found
