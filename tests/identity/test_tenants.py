import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import AuthenticationFailed, StoreUnavailable
from gateway.fairness.units import Weight
from gateway.identity.tenants import KeyRing, Keys, LiveKeys, UnreadKeys, carried_key, key_digest
from gateway.identity.terms import NO_LIMITS, TenantTerms

# echo -n sk-acme | sha256sum
ACME_DIGEST = "5f8eee912cd7c0ccb238560e8a22e7f78909e6dac18288188f7f4ea35112700d"


def test_a_configured_key_belongs_to_its_tenant() -> None:
    ring = KeyRing({ACME_DIGEST: "acme", key_digest("sk-acme-2"): "acme", key_digest("sk-bolt"): "bolt"})
    assert [ring.tenant_of(key) for key in ("sk-acme", "sk-acme-2", "sk-bolt")] == ["acme", "acme", "bolt"]


@pytest.mark.parametrize("api_key", [None, "", "sk-bolt", "SK-ACME", "sk-acme ", "acme", ACME_DIGEST])
def test_any_other_key_is_refused(api_key: str | None) -> None:
    with pytest.raises(AuthenticationFailed) as refused:
        KeyRing({ACME_DIGEST: "acme"}).tenant_of(api_key)
    assert refused.value.status == 401
    assert not api_key or api_key not in refused.value.message


def test_a_ring_with_no_keys_left_lets_nobody_in() -> None:
    for api_key in (None, "sk-acme"):
        with pytest.raises(AuthenticationFailed):
            KeyRing({}).tenant_of(api_key)


def test_an_open_gateway_makes_a_tenant_of_each_key() -> None:
    ring = KeyRing()
    assert ring.tenant_of("sk-acme") == "key-" + ACME_DIGEST[:12]
    assert ring.tenant_of("sk-bolt") != ring.tenant_of("sk-acme")
    assert ring.tenant_of(None) == ring.tenant_of("") == "anonymous"


@given(st.text())
def test_an_open_gateways_tenants_are_names_of_tenants(api_key: str) -> None:
    tenant = KeyRing().tenant_of(api_key)
    assert KeyRing({ACME_DIGEST: tenant}).tenant_of("sk-acme") == tenant


@pytest.mark.parametrize("tenant", ["", "a/b", "a b", "a\n", "é", "t" * 65])
def test_a_bad_tenant_name_is_refused_at_once(tenant: str) -> None:
    with pytest.raises(ValueError, match="not a tenant's name"):
        KeyRing({ACME_DIGEST: tenant})


@pytest.mark.parametrize("digest", ["", "sk-acme", ACME_DIGEST.upper(), ACME_DIGEST[:-1], ACME_DIGEST + "\n"])
def test_a_bad_digest_is_refused_at_once(digest: str) -> None:
    with pytest.raises(ValueError, match=r"not a SHA-256 in hex \(of tenant 'acme'\)"):  # perhaps a key: not shown
        KeyRing({digest: "acme"})


def test_a_ring_is_a_value() -> None:
    tenants = {ACME_DIGEST: "acme"}
    ring = KeyRing(tenants)
    tenants[key_digest("sk-bolt")] = "bolt"
    with pytest.raises(AuthenticationFailed):
        ring.tenant_of("sk-bolt")
    assert ring == KeyRing({ACME_DIGEST: "acme"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        ring.tenants = None  # type: ignore[misc]


# --- terms ----------------------------------------------------------------------------------------------------------


def test_terms_are_the_tenants_whichever_key_is_sent() -> None:
    terms = TenantTerms(weight=Weight(2000), max_running_calls=8)
    ring = KeyRing({ACME_DIGEST: "acme", key_digest("sk-bolt"): "bolt"}, {"acme": terms})
    assert ring.terms_of("acme") == terms
    assert ring.terms_of("bolt") == ring.terms_of("nobody") == NO_LIMITS


def test_an_open_gateway_limits_nobody() -> None:
    ring = KeyRing(None, {"acme": TenantTerms(max_running_calls=1)})
    assert ring.terms_of("acme") == NO_LIMITS
    assert (ring.is_open, KeyRing({}).is_open) == (True, False)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("weight", 1, 10**9),
        ("max_running_calls", 1, 10**6),
        ("max_waiting_calls", 0, 10**6),
        ("tokens_per_minute", 1, 10**12),
        ("kv_token_time_per_hour", 5e-324, 1e15),
    ],
)
def test_terms_have_bounds(name: str, least: float, most: float) -> None:
    for good in (least, most):
        assert getattr(TenantTerms(**{name: good}), name) == good  # type: ignore[arg-type]
    bad: list[object] = [least - 1, most + most / 8, float("nan"), float("inf"), True, "5"]
    for value in bad:
        with pytest.raises(ValueError, match=f"{name} must be"):
            TenantTerms(**{name: value})  # type: ignore[arg-type]


def test_no_limit_is_none_and_not_nothing() -> None:
    assert TenantTerms(Weight(1000), None, None, None, None) == NO_LIMITS
    with pytest.raises(ValueError, match="weight must be"):
        TenantTerms(weight=None)  # type: ignore[arg-type]


# --- keys that change -----------------------------------------------------------------------------------------------


def test_who_holds_live_keys_sees_each_change() -> None:
    live = LiveKeys(KeyRing())
    keys: Keys = live
    assert keys.tenant_of("sk-acme") == f"key-{ACME_DIGEST[:12]}"
    live.now = KeyRing({ACME_DIGEST: "acme"}, {"acme": TenantTerms(max_waiting_calls=0)})
    assert (keys.tenant_of("sk-acme"), keys.terms_of("acme").max_waiting_calls) == ("acme", 0)
    live.now = KeyRing({})
    with pytest.raises(AuthenticationFailed):
        keys.tenant_of("sk-acme")


def test_a_key_that_nobody_could_look_up_yet_may_come_again() -> None:
    keys = UnreadKeys(KeyRing({ACME_DIGEST: "acme"}, {"acme": TenantTerms(max_running_calls=2)}))
    assert (keys.tenant_of("sk-acme"), keys.terms_of("acme").max_running_calls) == ("acme", 2)
    with pytest.raises(StoreUnavailable) as refused:
        keys.tenant_of("sk-bolt")
    assert (refused.value.status, "sk-bolt" in str(refused.value)) == (503, False)
    for api_key in (None, ""):
        with pytest.raises(AuthenticationFailed):
            keys.tenant_of(api_key)


def test_what_is_printed_holds_neither_a_key_nor_a_digest() -> None:
    ring = KeyRing({ACME_DIGEST: "acme", key_digest("sk-2"): "acme"})
    assert repr(LiveKeys(UnreadKeys(ring))) == "LiveKeys(UnreadKeys(KeyRing(2 keys of 1 tenants)))"
    assert repr(KeyRing()) == "KeyRing(open)"


# --- headers --------------------------------------------------------------------------------------------------------


def as_sent(headers: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers]


@pytest.mark.parametrize(
    ("headers", "api_key"),
    [
        ([], None),
        ([("authorization", "Bearer sk-1")], "sk-1"),
        ([("Authorization", "bearer  sk-1 ")], "sk-1"),
        ([("x-api-key", " sk-2\t")], "sk-2"),
        ([("X-Api-Key", "sk-2"), ("authorization", "Bearer sk-1")], "sk-1"),
        ([("authorization", "Basic dTpw"), ("x-api-key", "sk-2")], "sk-2"),
        ([("authorization", "Bearer "), ("x-api-key", "sk-2")], "sk-2"),
        ([("authorization", "Bearer"), ("x-api-key", "")], None),
        ([("authorization", "sk-1")], None),
        ([("x-api-key", ""), ("x-api-key", "sk-2"), ("x-api-key", "sk-3")], "sk-2"),
        ([("authorization", "Bearer sk-1"), ("authorization", "Bearer sk-3")], "sk-1"),
        ([("proxy-authorization", "Bearer sk-1")], None),
    ],
)
def test_where_keys_travel(headers: list[tuple[str, str]], api_key: str | None) -> None:
    assert carried_key(as_sent(headers)) == api_key


def test_of_two_keys_that_differ_the_bearer_counts_alone() -> None:
    """A client of Anthropic's sends both where both variables are set; only the bearer was set for this gateway."""
    ring = KeyRing({ACME_DIGEST: "acme", key_digest("sk-bolt"): "bolt"})
    sent = [("x-api-key", "sk-bolt"), ("Authorization", "Bearer sk-acme")]
    for headers in (sent, sent[::-1]):
        assert ring.tenant_of(carried_key(as_sent(headers))) == "acme"
    with pytest.raises(AuthenticationFailed):  # a good key elsewhere does not make up for it
        ring.tenant_of(carried_key(as_sent([("x-api-key", "sk-bolt"), ("Authorization", "Bearer sk-wrong")])))


def test_only_a_ring_without_keys_is_open() -> None:
    assert KeyRing().is_open
    assert LiveKeys(KeyRing()).is_open
    assert not KeyRing({}).is_open
    assert not UnreadKeys(KeyRing()).is_open  # there may be keys, which nobody has seen yet
