import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import AuthenticationFailed
from gateway.identity.tenants import KeyRing, carried_key, key_digest

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
    with pytest.raises(ValueError, match="not a SHA-256 in hex"):
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
    assert carried_key(headers) == api_key
