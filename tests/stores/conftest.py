import secrets
from collections.abc import AsyncIterator

import pytest

from gateway.fairness import SHARES_NAMES, SharesName
from gateway.ports import StateStore
from gateway.stores.memory import MemoryStore
from gateway.stores.redis import RedisStore


@pytest.fixture(params=SHARES_NAMES)
def shares(request: pytest.FixtureRequest) -> SharesName:
    """Who has the shares in the store of this test. A module that is about one kind has a fixture of its own."""
    name: SharesName = request.param
    return name


@pytest.fixture
async def redis_store(redis_url: str, shares: SharesName) -> AsyncIterator[RedisStore]:
    """An empty store on the shared server, under keys of its own."""
    prefix = f"{{test:{secrets.token_hex(8)}}}"
    store = RedisStore(redis_url, prefix=prefix, timeout_s=10, shares=shares)
    yield store
    await store.wipe()
    await store.aclose()


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def store(request: pytest.FixtureRequest, shares: SharesName) -> StateStore:
    if request.param == "memory":
        return MemoryStore(shares)
    found: StateStore = request.getfixturevalue("redis_store")
    return found
