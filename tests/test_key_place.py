"""Where keys are looked for, whom a gateway without any lets in, and what its settings show of the keys in them."""

from pathlib import Path
from typing import Any

import pytest

from gateway.key_place import is_loopback, make_key_store, make_key_watch, may_be_open, why_not_open
from gateway.settings import ImpossibleSetting, Settings, StoreSettings, TenantSettings, load_settings
from gateway.stores.file_keys import FileKeys
from gateway.stores.redis_keys import RedisKeys

SECRET = "sk-justitia-very-secret"


def tenants(**settings: Any) -> TenantSettings:
    return TenantSettings(**settings)


# --- where ----------------------------------------------------------------------------------------------------------


def test_a_named_file_counts_before_redis_and_redis_before_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    named = {"keys_file": tmp_path / "named.json"}
    redis = StoreSettings(redis_url="redis://user:password@somewhere/0", prefix="mine")
    for settings, kind, place in (
        (Settings(), FileKeys, str(tmp_path / "justitia" / "keys.json")),
        (Settings(store=redis), RedisKeys, "Redis ({mine}:keys)"),
        (Settings(store=redis, tenants=tenants(**named)), FileKeys, str(tmp_path / "named.json")),
    ):
        store = make_key_store(settings)
        assert type(store) is kind
        assert store.place == place


def test_the_users_folder_is_in_the_home_and_never_one_for_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tenants().keys_file_in_use() == tmp_path / ".local" / "state" / "justitia" / "keys.json"

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert tenants().keys_file_in_use() is None
    assert make_key_store(Settings()) is None
    assert not make_key_watch(Settings()).has_stored_keys


async def test_stored_keys_may_be_left_aside(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{")
    for keys_file in (None, tmp_path / "keys.json"):
        watch = make_key_watch(Settings(tenants=tenants(stored_keys=False, keys_file=keys_file)))
        await watch.start()
        assert watch.keys.tenant_of(None) == "anonymous"


# --- open -----------------------------------------------------------------------------------------------------------

LOOPBACK = ("127.0.0.1", "127.1.2.3", "::1", "localhost")
OTHER = (
    "0.0.0.0",
    "::",
    "10.0.0.1",
    "fe80::1",
    "gateway.example",
    "localhost.example",
    "LOCALHOST",
    "127.1",
    "",
    "[::1]",
)


def test_which_addresses_only_this_machine_reaches() -> None:
    assert [host for host in (*LOOPBACK, *OTHER) if is_loopback(host)] == list(LOOPBACK)


@pytest.mark.parametrize("host", OTHER)
def test_nobody_opens_a_gateway_to_a_network_by_forgetting_keys(host: str) -> None:
    why = why_not_open(host, tenants(), False)
    assert why is not None
    assert "justitia keys create" in why
    assert "--open" in why
    assert len(why.splitlines()) == 1
    assert not may_be_open(host, tenants())


@pytest.mark.parametrize("host", LOOPBACK)
def test_on_this_machine_alone_a_gateway_may_be_open(host: str) -> None:
    assert why_not_open(host, tenants(), False) is None
    assert may_be_open(host, tenants())


def test_who_said_open_has_not_forgotten() -> None:
    for host in ("0.0.0.0", "127.0.0.1"):
        for is_open in (True, False):
            assert why_not_open(host, tenants(open=is_open), False) is None
            assert may_be_open(host, tenants(open=is_open)) is is_open


def test_keys_of_any_kind_close_it(tmp_path: Path) -> None:
    named = tenants(keys_file=tmp_path / "not there")
    for keys in (tenants(api_keys={"k": "team"}), named):
        assert why_not_open("0.0.0.0", keys, False) is None
        assert not may_be_open("127.0.0.1", keys)
        assert not may_be_open("127.0.0.1", keys.model_copy(update={"open": True}))
    assert why_not_open("0.0.0.0", tenants(), True) is None
    unused = tenants(keys_file=tmp_path / "not there", stored_keys=False)
    assert may_be_open("127.0.0.1", unused)
    assert why_not_open("0.0.0.0", unused, False) is not None


# --- what settings show ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JUSTITIA_TENANTS__API_KEYS", f'"{SECRET}"'),
        ("JUSTITIA_TENANTS__API_KEYS", f'["{SECRET}"]'),
        ("JUSTITIA_TENANTS__API_KEYS", f'{{"{SECRET}": 5}}'),
        ("JUSTITIA_TENANTS__API_KEYS", f'{{"{SECRET}": ""}}'),
        ("JUSTITIA_TENANTS__API_KEYS", f'{{"{SECRET}": "a b"}}'),
        ("JUSTITIA_TENANTS__API_KEYS", f'{{"alice": "{SECRET}"}}'),
        ("JUSTITIA_TENANTS__API_KEYS", f'{{"alice": {{"{SECRET}": 1}}}}'),
        ("JUSTITIA_TENANTS__API_KEYS", f'{{" {SECRET}": "alice"}}'),
        ("JUSTITIA_TENANTS__API_KEYS", f"{SECRET}=alice"),
        ("JUSTITIA_TENANTS__API_KEYS", f'{{"{SECRET}"'),
        ("JUSTITIA_TENANTS__API_KEY", f'{{"{SECRET}": "alice"}}'),
        ("JUSTITIA_TENANTS", f'{{"api_key": {{"{SECRET}": "alice"}}}}'),
        ("JUSTITIA_TENANTS", f'{{"api_keys": {{"{SECRET}": 3}}}}'),
        ("JUSTITIA_TENANTS", f'"{SECRET}"'),
    ],
)
def test_a_bad_setting_is_one_line_that_shows_no_key(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ImpossibleSetting) as caught:
        load_settings({name: value})
    assert "tenants" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_settings_print_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUSTITIA_TENANTS__API_KEYS", f'{{"{SECRET}": "alice"}}')
    settings = load_settings({})
    assert settings.tenants.api_keys == {SECRET: "alice"}
    for shown in (repr(settings), str(settings), repr(settings.tenants), f"{settings.tenants}"):
        assert SECRET not in shown


def test_a_group_made_in_code_is_taken_as_it_is() -> None:
    group = tenants(api_keys={"k": "team"}, open=True)
    assert Settings(tenants=group).tenants == group
