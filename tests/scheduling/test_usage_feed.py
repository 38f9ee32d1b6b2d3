import asyncio

import pytest

from gateway.fairness.units import KvTokenTime, Tokens
from gateway.identity.terms import NO_LIMITS, TenantTerms
from gateway.scheduling.model import Outcome, Usage
from gateway.scheduling.quotas import Quotas
from gateway.scheduling.tenant_usage import ApplicationUsage, TenantUsage, UsageBook
from gateway.scheduling.usage_feed import UsageFeed
from gateway.stores.memory_usage import MemoryUsage
from gateway.stores.memory_usage_sums import MemoryUsageSums
from gateway.stores.redis_usage_sums import RedisUsageSums
from gateway.usage_sums import UsageSums
from tests.conftest import RedisServer

NOON = 1_790_000_000.0


async def test_every_tenant_is_told_however_many_there_are() -> None:
    quotas = Quotas(lambda _: TenantTerms(tokens_per_minute=1000))
    for i in range(1000):
        quotas.charge(f"t{i}", 500, 0, 0.0)
    ledger, elsewhere = MemoryUsage(lambda: 0.0), []
    here, there = [
        UsageFeed(ledger, quotas, name, lambda: 0.0, lambda: {f"t{i}": 2 for i in range(600)}, elsewhere.append)
        for name in ("here", "there")
    ]
    await here.exchange()
    await there.exchange()
    assert len(ledger) == 1000
    assert elsewhere == [{}, {f"t{i}": 2 for i in range(600)}]


async def test_without_a_ledger_nobody_runs_elsewhere_and_the_idle_are_forgotten() -> None:
    quotas, now, elsewhere = Quotas(lambda _: TenantTerms(tokens_per_minute=60)), [0.0], []
    feed = UsageFeed(None, quotas, "here", lambda: now[0], dict, elsewhere.append)
    quotas.charge("t", 30, 0, 0.0)
    await feed.exchange()
    assert (elsewhere, len(quotas)) == ([{}], 1)
    now[0] = 30.0
    await feed.exchange()
    assert len(quotas) == 0


class Place:
    """A gateway, as far as it counts what tenants use."""

    def __init__(self, name: str, sums: UsageSums | None) -> None:
        self.book = UsageBook()
        quotas = Quotas(lambda _: NO_LIMITS)
        self.feed = UsageFeed(None, quotas, name, lambda: NOON, dict, lambda _: None, sums=sums, book=self.book)

    def serve(self, tenant: str, application: str, service: float) -> None:
        self.book.call_ended(tenant, Outcome.COMPLETED, Usage(Tokens(10), Tokens(2)), NOON)
        self.book.served(tenant, application, KvTokenTime(service), NOON, is_last=True)


def numbers(usage: TenantUsage) -> tuple[int, float]:
    return usage.total.calls.get(Outcome.COMPLETED, 0), usage.total.kv_token_time


async def test_without_sums_a_gateway_tells_of_itself() -> None:
    place = Place("here", None)
    place.serve("t", "a", 5.0)
    await place.feed.add_up()
    usage = await place.feed.usage_of("t")
    assert (numbers(usage), usage.is_of_all_gateways) == ((1, 5.0), False)
    assert place.book.news() == {}


async def test_any_gateway_tells_what_all_have_told_and_what_it_knows_itself() -> None:
    sums = MemoryUsageSums(lambda: NOON)
    here, there = Place("here", sums), Place("there", sums)
    here.serve("t", "a", 5.0)
    there.serve("t", "a", 7.0)
    assert numbers(await there.feed.usage_of("t")) == (1, 7.0)
    await here.feed.add_up()
    assert numbers(await there.feed.usage_of("t")) == (2, 12.0)
    await there.feed.add_up()
    for place in (here, there):
        usage = await place.feed.usage_of("t")
        assert (numbers(usage), usage.is_of_all_gateways) == ((2, 12.0), True)
        assert usage.applications == {"a": ApplicationUsage(2, KvTokenTime(12.0))}


async def test_however_many_tenants_and_applications_there_are_all_are_told() -> None:
    sums = MemoryUsageSums(lambda: NOON)
    place = Place("here", sums)
    for tenant in range(700):
        for application in range(tenant % 5):
            place.serve(f"t{tenant}", f"a{application}", 1.0)
    await place.feed.add_up()
    told = [numbers(await Place("there", sums).feed.usage_of(f"t{tenant}")) for tenant in range(700)]
    assert told == [(tenant % 5, float(tenant % 5)) for tenant in range(700)]


async def test_a_gateway_that_ends_has_told_all() -> None:
    sums = MemoryUsageSums(lambda: NOON)
    place = Place("here", sums)
    running = asyncio.create_task(place.feed.run())
    await asyncio.sleep(0)
    place.serve("t", "a", 5.0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert numbers(await Place("there", sums).feed.usage_of("t")) == (1, 5.0)


@pytest.mark.redis
async def test_two_gateways_of_one_redis_that_hangs_and_comes_back(redis_server: RedisServer) -> None:
    """Nothing is lost meanwhile, and nothing counted twice."""
    shared = [RedisUsageSums(redis_server.url, timeout_s=10.0), RedisUsageSums(redis_server.url, timeout_s=0.3)]
    here, there = Place("here", shared[0]), Place("there", shared[1])
    here.serve("t", "a", 5.0)
    await here.feed.add_up()
    there.serve("t", "b", 7.0)
    redis_server.hang()
    await there.feed.add_up()
    there.serve("t", "b", 9.0)
    await there.feed.add_up()
    alone = await there.feed.usage_of("t")
    assert (numbers(alone), alone.is_of_all_gateways) == ((2, 16.0), False)
    redis_server.resume()
    for _ in range(2):  # what was on its way, and what came since
        await there.feed.add_up()
    for place in (here, there):
        usage = await place.feed.usage_of("t")
        assert (numbers(usage), usage.is_of_all_gateways) == ((3, 21.0), True)
        assert (usage.total.prompt_tokens, usage.today, usage.this_hour) == (30, usage.total, usage.total)
        assert usage.applications == {
            "a": ApplicationUsage(1, KvTokenTime(5.0)),
            "b": ApplicationUsage(2, KvTokenTime(16.0)),
        }
    for sums in shared:
        await sums.aclose()
