import pytest

from gateway import errors
from gateway.fairness.units import ApplicationId, KvTokenTime, Tokens
from gateway.identity.terms import NO_LIMITS, TenantTerms
from gateway.scheduling.accounts import Charge
from gateway.scheduling.estimates import Expected
from gateway.scheduling.metering import Metering
from gateway.scheduling.model import Outcome, Usage

TERMS = {"t": TenantTerms(tokens_per_minute=600, kv_token_time_per_hour=3600.0)}


def metering() -> Metering:
    return Metering(lambda tenant: TERMS.get(tenant, NO_LIMITS))


def expected(tokens: int, cost: float) -> Expected:
    return Expected(Tokens(tokens), Tokens(0), KvTokenTime(cost))


def charge(call_id: str, service: float, *, is_last: bool, tenant: str = "t") -> Charge:
    return Charge(call_id, ApplicationId(f"{tenant}/app"), KvTokenTime(service), is_last)


def test_refused_until_there_is_quota_again() -> None:
    meter = metering()
    meter.admit("c1", "t", expected(600, 0.0), 0.0)
    with pytest.raises(errors.QuotaExceeded) as refused:
        meter.admit("c2", "t", expected(60, 0.0), 0.0)
    assert refused.value.retry_after_s == 6.0
    meter.call_ended("c2", "t", Outcome.REJECTED, None, None, 0.0)
    usage = Usage(Tokens(300), Tokens(60))
    meter.call_ended("c1", "t", Outcome.COMPLETED, usage, expected(360, 0.0), 0.0)
    meter.admit("c3", "t", expected(240, 0.0), 0.0)
    assert meter.book.read("t", 0.0).total.calls == {Outcome.REJECTED: 1, Outcome.COMPLETED: 1}


def test_a_call_that_was_never_dispatched_uses_nothing() -> None:
    meter = metering()
    meter.admit("c1", "t", expected(600, 3600.0), 0.0)
    meter.call_ended("c1", "t", Outcome.CANCELLED, None, None, 0.0)
    meter.admit("c2", "t", expected(600, 3600.0), 0.0)


def test_the_formula_holds_until_the_engine_tells() -> None:
    meter = metering()
    meter.admit("c1", "t", expected(0, 1000.0), 0.0)
    meter.charged(charge("c1", 400.0, is_last=False), 0.0)
    meter.call_ended("c1", "t", Outcome.COMPLETED, None, expected(0, 3000.0), 0.0)
    assert meter.quotas.wait_s("t", 0, 300, 0.0) == 100.0
    meter.charged(charge("c1", 200.0, is_last=False), 0.0)
    meter.charged(charge("c1", 0.0, is_last=True), 0.0)
    assert meter.quotas.wait_s("t", 0, 3000, 0.0) == 0
    assert meter.quotas.wait_s("t", 0, 3001, 0.0) == 1.0
    assert meter.book.read("t", 0.0).total.kv_token_time == 600.0
    assert not meter._by_formula


def test_without_quotas_only_the_book_is_kept() -> None:
    meter = metering()
    meter.admit("c1", "free", expected(10**9, 1e9), 0.0)
    meter.call_ended("c1", "free", Outcome.COMPLETED, None, expected(0, 7.0), 0.0)
    meter.charged(charge("c1", 7.0, is_last=True, tenant="free"), 0.0)
    assert meter.book.read("free", 0.0).total.kv_token_time == 7.0
    assert not meter._by_formula
    assert len(meter.quotas) == 0
