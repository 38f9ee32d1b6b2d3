"""Quotas as buckets that leak; a tenant `t` with 600 tokens a minute (10 a second) unless a test says otherwise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity.terms import NO_LIMITS, TenantTerms
from gateway.ports import TenantShare, TenantTotals
from gateway.scheduling.quotas import Quotas

TOKENS = TenantTerms(tokens_per_minute=600)
BOTH = TenantTerms(tokens_per_minute=600, kv_token_time_per_hour=7200.0)


def quotas_of(terms: TenantTerms = TOKENS, **options: int) -> Quotas:
    return Quotas(lambda tenant: NO_LIMITS if tenant == "free" else terms, **options)


def used(quotas: Quotas, tokens: float, now: float, kv_token_time: float = 0.0) -> None:
    quotas.charge("t", tokens, kv_token_time, now)


def test_up_to_the_quota_at_once_and_then_at_its_pace() -> None:
    quotas = quotas_of()
    assert quotas.wait_s("t", 600, 0, 0.0) == 0
    used(quotas, 600, 0.0)
    assert quotas.wait_s("t", 100, 0, 0.0) == 10.0
    assert quotas.wait_s("t", 100, 0, 9.0) == pytest.approx(1.0)
    assert quotas.wait_s("t", 100, 0, 10.0) == 0


def test_what_runs_counts_as_estimated_until_it_is_settled() -> None:
    quotas = quotas_of()
    for i in range(5):
        assert quotas.wait_s("t", 100, 0, 0.0) == 0
        quotas.hold(f"c{i}", "t", 100, 0, 0.0)
    assert quotas.wait_s("t", 101, 0, 0.0) == pytest.approx(0.1)
    assert quotas.let_go("c0")
    assert not quotas.let_go("c0")
    used(quotas, 20, 0.0)  # it was shorter than thought
    assert quotas.wait_s("t", 180, 0, 0.0) == 0
    assert quotas.wait_s("t", 200, 0, 0.0) == pytest.approx(2.0)


def test_one_larger_than_the_quota_comes_when_the_bucket_is_empty_and_pays_for_itself() -> None:
    quotas = quotas_of()
    used(quotas, 10, 0.0)
    assert quotas.wait_s("t", 6000, 0, 0.0) == 1.0
    assert quotas.wait_s("t", 6000, 0, 1.0) == 0
    used(quotas, 6000, 1.0)
    assert quotas.wait_s("t", 100, 0, 1.0) == pytest.approx(550.0)


def test_the_longer_wait_of_two_quotas() -> None:
    quotas = quotas_of(BOTH)
    used(quotas, 600, 0.0, kv_token_time=7200.0)
    assert quotas.wait_s("t", 10, 20, 0.0) == 10.0
    assert quotas.wait_s("t", 50, 2, 0.0) == 5.0


def test_an_estimate_that_is_corrected() -> None:
    quotas = quotas_of(BOTH)
    used(quotas, 0, 0.0, kv_token_time=7200.0)
    used(quotas, 0, 0.0, kv_token_time=-1200.0)
    assert quotas.wait_s("t", 0, 1200, 0.0) == 0
    used(quotas, 0, 0.0, kv_token_time=-1e9)
    assert quotas.wait_s("t", 0, 7200, 0.0) == 0
    assert quotas.wait_s("t", 0, 7201, 0.0) == 0  # empty, not less


def test_without_quotas_nothing_is_kept() -> None:
    quotas = quotas_of()
    quotas.hold("c", "free", 10**9, 1e9, 0.0)
    quotas.charge("free", 10**9, 1e9, 0.0)
    assert quotas.wait_s("free", 10**9, 1e9, 0.0) == 0
    assert not quotas.let_go("c")
    assert (len(quotas), quotas.num_holds) == (0, 0)


def test_a_quota_of_nothing_and_one_that_is_lifted() -> None:
    terms = {"t": BOTH}
    quotas = Quotas(lambda tenant: terms[tenant])
    used(quotas, 600, 0.0, kv_token_time=9000.0)
    terms["t"] = TOKENS
    assert quotas.wait_s("t", 0, 9000, 0.0) == 0
    assert quotas.wait_s("t", 60, 0, 0.0) == 6.0
    terms["t"] = NO_LIMITS
    assert quotas.wait_s("t", 600, 9000, 0.0) == 0
    assert quotas.shares({}, 0.0) == {}
    assert len(quotas) == 0


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 400), st.floats(0.5, 2.0)), max_size=60))
def test_over_any_time_no_more_than_was_given_and_the_wait_is_exact(arrivals: list[tuple[float, int, float]]) -> None:
    """Estimates may be wrong by twice: what is used above them is repaid before anything else may come."""
    quotas, now, spent, overshoot = quotas_of(), 0.0, 0.0, 0.0
    for i, (pause_s, tokens, wrong) in enumerate(arrivals):
        now += pause_s
        wait_s = quotas.wait_s("t", tokens, 0, now)
        if wait_s:
            assert quotas.wait_s("t", tokens, 0, now + 0.99 * wait_s) > 0
            now += wait_s * (1 + 1e-9) + 1e-9
            assert quotas.wait_s("t", tokens, 0, now) == 0
        quotas.hold(f"c{i}", "t", tokens, 0, now)
        assert quotas.let_go(f"c{i}")
        used(quotas, tokens * wrong, now)
        spent += tokens * wrong
        overshoot = max(overshoot, tokens * (wrong - 1))
        assert spent <= 600 + 10 * now + overshoot + 1e-6


# --- shared by gateways ---------------------------------------------------------------------------------------------


def test_tells_what_was_used_since_it_last_told() -> None:
    quotas = quotas_of(BOTH)
    used(quotas, 100, 0.0, kv_token_time=50.0)
    share = TenantShare(100.0, 50.0, 10.0, 2.0, num_running=0)
    assert quotas.shares({"capped": 3}, 0.0) == {"t": share, "capped": TenantShare(num_running=3)}
    assert quotas.shares({"t": 2}, 0.0) == {"t": TenantShare(0.0, 0.0, 10.0, 2.0, num_running=2)}


def test_learns_what_all_have_used_and_keeps_what_came_since() -> None:
    quotas = quotas_of()
    used(quotas, 100, 0.0)
    quotas.shares({}, 0.0)
    used(quotas, 50, 0.0)
    quotas.learn({"t": TenantTotals(500.0, 0.0, 0), "unknown": TenantTotals(9.0, 9.0, 0)}, 0.0)
    assert quotas.wait_s("t", 50, 0, 0.0) == 0
    assert quotas.wait_s("t", 60, 0, 0.0) == 1.0
    assert len(quotas) == 1


def test_what_could_not_be_told_for_long_leaks_like_everything_else() -> None:
    quotas = quotas_of()
    for minute in range(60):
        used(quotas, 600, 60.0 * minute)
    assert quotas.shares({}, 60.0 * 59 + 30)["t"].tokens == pytest.approx(300.0)
    used(quotas, 100, 60.0 * 59 + 30)
    quotas.learn({"t": TenantTotals(0.0, 0.0, 0)}, 60.0 * 60)
    assert quotas.wait_s("t", 600, 0, 60.0 * 60) == pytest.approx(10.0)


def test_whose_bucket_is_empty_and_who_runs_nothing_is_not_remembered() -> None:
    quotas = quotas_of()
    quotas.hold("c", "t", 10, 0, 0.0)
    used(quotas, 60, 0.0)
    assert list(quotas.shares({}, 10.0)) == ["t"]  # its call runs
    quotas.let_go("c")
    assert quotas.shares({}, 10.0) == {}
    assert len(quotas) == 0


def test_tenants_are_bounded_and_those_with_calls_stay() -> None:
    quotas = quotas_of(max_tenants=3)
    quotas.hold("c", "busy", 600, 0, 0.0)
    for i in range(50):
        quotas.charge(f"t{i}", 600, 0, 0.0)
    assert len(quotas) == 3
    assert quotas.wait_s("busy", 600, 0, 0.0) > 0
    assert quotas.wait_s("t49", 600, 0, 0.0) > 0
    assert quotas.wait_s("t0", 600, 0, 0.0) == 0


def test_more_tenants_with_calls_than_are_remembered_are_all_the_same() -> None:
    quotas = quotas_of(max_tenants=70)
    for i in range(100):
        quotas.hold(f"c{i}", f"t{i}", 10, 0, 0.0)
    assert len(quotas) == 100
    for i in range(100):
        assert quotas.let_go(f"c{i}")
