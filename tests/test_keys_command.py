"""`justitia keys`: what it prints where, what it keeps, and what it refuses."""

import asyncio
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.key_place import make_key_watch
from gateway.settings import Settings

A_KEY = re.compile(r"sk-justitia-[A-Za-z0-9_-]{43}\n")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    told: str

    @property
    def key(self) -> str:
        assert A_KEY.fullmatch(self.out)
        return self.out.strip()

    @property
    def key_id(self) -> str:
        found = re.match(r"key ([0-9a-f]{12}) of tenant", self.told)
        assert found is not None
        return found[1]


Keys = Callable[..., Done]


@pytest.fixture
def keys(capsys: pytest.CaptureFixture[str]) -> Keys:
    def run(*arguments: str) -> Done:
        try:
            code = main(["keys", *arguments])
        except SystemExit as error:
            code = int(str(error.code))
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    return run


@pytest.fixture
def state() -> Path:
    return Path(os.environ["XDG_STATE_HOME"]) / "justitia" / "keys.json"


def tenant_of(key: str, **settings: Any) -> str:
    """As a gateway started now would answer."""

    async def ask() -> str:
        watch = make_key_watch(Settings(**settings))
        await watch.start()
        try:
            return watch.keys.tenant_of(key)
        finally:
            await watch.aclose()

    return asyncio.run(ask())


# --- create ---------------------------------------------------------------------------------------------------------


def test_the_key_stands_alone_on_stdout(keys: Keys, state: Path) -> None:
    done = keys("create", "--tenant", "alice")
    assert done.code == 0
    assert A_KEY.fullmatch(done.out)
    assert done.told.splitlines() == [
        f"key {done.key_id} of tenant alice, kept in {state}; it is shown this once",
        "from now on gateways that look there let nobody in without a key",
        "terms of tenant alice: weight 1000, no limits",
    ]
    assert keys("create", "--tenant", "alice").key != done.key


def test_nothing_that_is_kept_or_told_is_part_of_the_key(keys: Keys, state: Path) -> None:
    done = keys("create", "--tenant", "alice", "--note", "laptop")
    secret = done.key.removeprefix("sk-justitia-")
    seen = state.read_text() + done.told + keys("list").out + keys("list", "--json").out + str(state.stat())
    assert not any(secret[start : start + 6] in seen for start in range(len(secret) - 5))
    assert stat.S_IMODE(state.stat().st_mode) == 0o600


def test_a_gateway_with_the_same_settings_lets_it_in() -> None:
    """As a shell reads it: KEY=$(justitia keys create …)."""
    command = [sys.executable, "-m", "gateway.cli", "keys", "create", "--tenant", "alice"]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    assert tenant_of(made.stdout.strip()) == "alice"


def test_a_second_key_keeps_the_tenants_terms_and_flags_change_them(keys: Keys) -> None:
    first = keys("create", "--tenant", "alice", "--weight", "2000", "--max-running", "8", "--max-waiting", "100")
    assert "terms of tenant alice: weight 2000, 8 running, 100 waiting\n" in first.told
    assert "terms of tenant alice: weight 2000, 8 running, 100 waiting\n" in keys("create", "--tenant", "alice").told
    third = keys("create", "--tenant", "alice", "--weight", "500", "--tokens-per-minute", "9", "--max-waiting", "none")
    changed = "weight 500, 8 running, 9 tokens/min (was: weight 2000, 8 running, 100 waiting)"
    assert f"terms of tenant alice, all its keys: {changed}\n" in third.told
    assert len(json.loads(keys("list", "--json").out)["keys"]) == 3


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--tenant", "a b"], "not a tenant's name"),
        (["--tenant", "sk-justitia-x"], "a tenant is named like a key"),
        (["--tenant", "a", "--weight", "0"], "weight must be"),
        (["--tenant", "a", "--max-running", "0"], "max_running_calls must be"),
        (["--tenant", "a", "--max-waiting", "-1"], "max_waiting_calls must be"),
        (["--tenant", "a", "--kv-token-time-per-hour", "nan"], "kv_token_time_per_hour must be"),
        (["--tenant", "a", "--max-running", "many"], "invalid number or `none` value"),
        (["--tenant", "a", "--note", "x" * 101], "a note must be"),
        (["--tenant", "a", "--note", "a\x1b[2J"], "a note must be"),
        (["--tenant", "a", "--redis", "http://x"], "a Redis URL begins with"),
        (["--tenant", "a", "--redis", "redis://x", "--keys-file", "y"], "not allowed with"),
        ([], "--tenant"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_made(keys: Keys, state: Path, arguments: list[str], why: str) -> None:
    done = keys("create", *arguments)
    assert (done.code, done.out) == (2, "")
    assert why in done.told.splitlines()[-1]
    assert not state.exists()


# --- list, revoke, terms --------------------------------------------------------------------------------------------


def test_a_list_shows_ids_tenants_and_terms(keys: Keys) -> None:
    bob = keys("create", "--tenant", "bob", "--kv-token-time-per-hour", "1e9", "--note", "nights")
    alice = keys("create", "--tenant", "alice")
    keys("terms", "zoe", "--weight", "7")
    heading, *rows = keys("list").out.splitlines()
    assert heading.split() == ["ID", "CREATED", "TENANT", "TERMS", "NOTE"]
    assert [re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "then", re.sub(" {2,}", "|", row)) for row in rows] == [
        f"{alice.key_id}|then|alice|weight 1000, no limits",
        f"{bob.key_id}|then|bob|weight 1000, 1e+09 KV token-time/h|nights",
        "no key|zoe|weight 7, no limits",
    ]
    shown = json.loads(keys("list", "--json").out)
    assert [(key["id"], key["tenant"], key["note"]) for key in shown["keys"]] == [
        (alice.key_id, "alice", ""),
        (bob.key_id, "bob", "nights"),
    ]
    assert shown["tenants"]["bob"] == {
        "weight": 1000,
        "max_running_calls": None,
        "max_waiting_calls": None,
        "tokens_per_minute": None,
        "kv_token_time_per_hour": 1e9,
    }


def test_a_list_of_nothing(keys: Keys, state: Path) -> None:
    assert keys("list") == Done(0, "", f"there are no keys in {state}\n")
    assert json.loads(keys("list", "--json").out) == {"keys": [], "tenants": {}}
    assert not state.parent.exists()


def test_a_key_is_revoked_by_its_id_or_by_itself(keys: Keys) -> None:
    one, two = keys("create", "--tenant", "alice", "--weight", "5"), keys("create", "--tenant", "alice")
    assert (
        keys("revoke", one.key_id).told
        == f"key {one.key_id} of tenant alice is revoked; 1 of the tenant's keys are left\n"
    )
    done = keys("revoke", two.key)
    assert done.code == 0
    assert two.key not in done.told
    assert "no keys are left: nobody gets in" in done.told
    assert "weight 5" in keys("create", "--tenant", "alice").told


def test_an_unknown_key_is_one_line_and_exit_2(keys: Keys) -> None:
    done = keys("create", "--tenant", "alice")
    assert keys("revoke", "nonsense") == Done(2, "", "justitia keys: no key has the id 'nonsense'\n")
    assert keys("revoke", done.key[:-1]) == Done(2, "", "justitia keys: this key is not known\n")
    assert len(json.loads(keys("list", "--json").out)["keys"]) == 1


def test_terms_are_shown_and_changed_without_a_new_key(keys: Keys, state: Path) -> None:
    assert keys("terms", "alice") == Done(2, "", f"justitia keys: there is no tenant alice in {state}\n")
    keys("create", "--tenant", "alice", "--max-running", "8")
    done = keys("terms", "alice", "--max-running", "none", "--weight", "2000")
    assert done.out == "alice: weight 2000, no limits\n"
    assert "(was: weight 1000, 8 running)" in done.told
    assert keys("terms", "alice") == Done(0, "alice: weight 2000, no limits\n", "")
    assert keys("terms", "a/b", "--weight", "1").code == 2


# --- where ----------------------------------------------------------------------------------------------------------


def test_in_a_file_that_is_named(keys: Keys, tmp_path: Path, state: Path) -> None:
    path = tmp_path / "named.json"
    key = keys("create", "--tenant", "alice", "--keys-file", str(path))
    assert f"JUSTITIA_TENANTS__KEYS_FILE={path}" in key.told
    assert not state.exists()
    assert tenant_of(key.key, tenants={"keys_file": path}) == "alice"
    path.chmod(0o644)
    assert keys("list", "--keys-file", str(path)).told == f"{path} can be read by others (chmod 600)\n"
    path.write_text("{")
    done = keys("revoke", key.key_id, "--keys-file", str(path))
    assert done.code == 1
    assert "is damaged" in done.told.splitlines()[-1]


@pytest.mark.redis
def test_in_redis(keys: Keys, redis_server: Any, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    redis = ("--redis", redis_server.url)
    key = keys("create", "--tenant", "alice", *redis)
    assert redis_server.url not in key.told
    assert not state.exists()
    assert tenant_of(key.key, store={"redis_url": redis_server.url}) == "alice"
    monkeypatch.setenv("JUSTITIA_STORE__REDIS_URL", redis_server.url)
    assert key.key_id in keys("list").out
    monkeypatch.setenv("JUSTITIA_TENANTS__KEYS_FILE", "keys.json")
    refused = keys("list", *redis)
    assert (refused.code, refused.told[:48]) == (2, "justitia keys: JUSTITIA_TENANTS__KEYS_FILE is se")
    monkeypatch.delenv("JUSTITIA_TENANTS__KEYS_FILE")
    redis_server.kill()
    assert keys("list") == Done(1, "", "justitia keys: the state store cannot be used: ConnectionError\n")
