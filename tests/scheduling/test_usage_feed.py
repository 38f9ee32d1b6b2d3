from gateway.identity.terms import TenantTerms
from gateway.scheduling.quotas import Quotas
from gateway.scheduling.usage_feed import UsageFeed
from gateway.stores.memory_usage import MemoryUsage


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
