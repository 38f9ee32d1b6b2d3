"""A key is seen by nobody: not in logs, answers, metrics, settings or processes, and not by engines."""

import logging
import pprint
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.composition import compose
from gateway.http.apis import APIS
from gateway.identity import KeyRing, LiveKeys, key_digest
from gateway.settings import ImpossibleSetting, Settings, load_settings
from gateway.settings_command import settings_table
from tests.fakes.engine import FakeVllm, answers, hangs, resets, streams_then
from tests.http.listeners import ListeningGateway, listening_gateway, raw_client, request

CHAT = "/v1/chat/completions"
GOOD = "sk-good-3f9c1d27e6"
WRONG = "sk-wrong-77ab01c2d4"
TOKEN = "token-51e09b6ac8"
ENGINE_KEY = "engine-key-90fe21bb07"
PASSWORD = "password-c0ffee4411"
SECRETS = (GOOD, WRONG, TOKEN, ENGINE_KEY, PASSWORD, key_digest(GOOD), key_digest(WRONG))
PROMPT = "the patient's name is Ottilie"
ASK = {"model": "tiny", "messages": [{"role": "user", "content": PROMPT}]}


class Everything(logging.Handler):
    """Every record of every logger, as it would be written and as it was made, with the error it holds."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{self.format(record)} {record.args!r}")


@pytest.fixture
def everything() -> Iterator[Everything]:
    root, handler = logging.getLogger(), Everything()
    levels = {root: root.level} | {
        found: found.level for found in root.manager.loggerDict.values() if isinstance(found, logging.Logger)
    }
    for logger in levels:
        logger.setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
    for logger, level in levels.items():
        logger.setLevel(level)


@pytest.fixture
async def gateway(engine: FakeVllm, everything: Everything) -> AsyncIterator[ListeningGateway]:
    tenants = {"api_keys": {GOOD: "team"}, "stored_keys": False}
    async with listening_gateway(engine, tenants=tenants, engines=_engines(engine)) as gateway:
        yield gateway


def _engines(engine: FakeVllm) -> dict[str, object]:
    engine.token = TOKEN
    quick = {"urls": [engine.url], "poll_interval_s": 0.01, "idle_poll_interval_s": 0.05}
    return quick | {"token": TOKEN, "api_key": ENGINE_KEY, "silence_timeout_s": 0.5, "unreachable_grace_s": 0.2}


def leaks(text: str) -> list[str]:
    return [secret for secret in (*SECRETS, PROMPT) if secret in text]


def shown(answer: httpx.Response) -> str:
    return f"{answer.status_code} {answer.headers.multi_items()} {answer.text}"


CARRIED: dict[str, dict[str, str]] = {
    "good": {"authorization": f"Bearer {GOOD}"},
    "good for Anthropic": {"x-api-key": GOOD},
    "wrong": {"authorization": f"Bearer {WRONG}"},
    "wrong beside good": {"authorization": f"Bearer {WRONG}", "x-api-key": GOOD},
    "without a scheme": {"authorization": GOOD},
    "another scheme": {"authorization": f"Basic {GOOD}"},
    "two words": {"authorization": f"Bearer {GOOD} {WRONG}"},
    "for a proxy": {"proxy-authorization": f"Bearer {GOOD}", "x-api-key": GOOD},
}


@pytest.mark.parametrize("headers", CARRIED.values(), ids=CARRIED)
async def test_a_key_goes_nowhere_from_a_call(
    engine: FakeVllm, gateway: ListeningGateway, everything: Everything, headers: dict[str, str]
) -> None:
    told = [await gateway.post(path, ASK, headers=headers) for path in APIS]
    told += [await gateway.post("/v1/applications", {"id": 5}, headers=headers)]
    told += [await gateway.client.get(path, headers=headers) for path in ("/v1/models", "/v1/usage", "/v1/none")]
    for answer in told:
        assert leaks(shown(answer)) == []
    _check_surroundings(engine, everything, await gateway.client.get("/metrics"))


def _check_surroundings(engine: FakeVllm, everything: Everything, metrics: httpx.Response) -> None:
    assert everything.lines, "nothing was logged at all: the test sees nothing"
    assert leaks("\n".join(everything.lines)) == []
    assert leaks(metrics.text) == []
    for received in engine.received:
        sent = f"{received.path} {received.headers}"
        assert set(leaks(sent)) <= {TOKEN if received.path.startswith("/justitia/") else ENGINE_KEY}
        assert not {GOOD.encode(), WRONG.encode()} & set(received.body.split(b'"'))


@pytest.mark.parametrize(
    "script",
    [resets, hangs, answers({"error": {"message": "no"}}, 500), streams_then([b"data: {}\n\n"], resets), None],
    ids=["resets", "hangs", "fails", "breaks off", "is gone"],
)
async def test_a_key_goes_nowhere_when_an_engine_fails(
    engine: FakeVllm, gateway: ListeningGateway, everything: Everything, script: Any
) -> None:
    if script is None:
        await engine.stop()
    else:
        engine.on_call = script
    for body in (ASK, ASK | {"stream": True}):
        assert leaks(await _told(gateway, body)) == []
    _check_surroundings(engine, everything, await gateway.client.get("/metrics"))


async def _told(gateway: ListeningGateway, body: object) -> str:
    try:
        return shown(await gateway.post(CHAT, body, headers=CARRIED["good"]))
    except httpx.RemoteProtocolError as error:  # a body that is cut off
        return str(error)


async def test_a_key_goes_nowhere_from_what_is_no_request(
    engine: FakeVllm, gateway: ListeningGateway, everything: Everything
) -> None:
    key = f"authorization: Bearer {GOOD}".encode()
    malformed = (
        request(b"{", key),
        request(b"{}", key, b"content-length: 5"),
        request(b"{}", key.replace(b": ", b" : ")),
        request(b"{}", key, b"x: \0"),
        request(b"{}", key, *[b"x: y"] * 300),
        b"GET / HTTP/1.1\r\n" + key,
    )
    for sent in malformed:
        async with raw_client(gateway, sent) as client:
            client.writer.write_eof()
            assert leaks((await client.rest()).decode("latin-1")) == []
    _check_surroundings(engine, everything, await gateway.client.get("/metrics"))


async def test_a_fault_of_ours_shows_no_key(
    engine: FakeVllm, gateway: ListeningGateway, everything: Everything, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(gateway.dispatcher, "usage_over_all", fails)
    answer = await gateway.client.get("/v1/usage", headers=CARRIED["good"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "planted" not in answer.text
    assert any("planted" in line for line in everything.lines)
    _check_surroundings(engine, everything, await gateway.client.get("/metrics"))


# --- settings -------------------------------------------------------------------------------------------------------


def _settings() -> Settings:
    return load_settings(
        {},
        None,
        {
            "engines": {"urls": "http://127.0.0.1:1", "token": TOKEN, "api_key": ENGINE_KEY},
            "store": {"redis_url": f"redis://:{PASSWORD}@127.0.0.1:1/0"},
            "tenants": {"api_keys": {GOOD: "team"}},
        },
    )


def test_settings_show_no_secret() -> None:
    settings = _settings()
    groups = [getattr(settings, name) for name in Settings.model_fields]
    for text in (repr(settings), str(settings), f"{settings}", pprint.pformat(settings), *map(repr, groups)):
        assert leaks(text) == []
    assert leaks(settings_table()) == []


WRONG_SETTINGS: tuple[dict[str, dict[str, object]], ...] = (
    {"tenants": {"api_keys": {GOOD: "not a name"}}},
    {"tenants": {"api_keys": {f" {GOOD}": "team"}}},
    {"tenants": {"api_keys": {GOOD: WRONG}}},
    {"tenants": {"api_keys": [GOOD]}},
    {"tenants": {"api_keys": GOOD}},
    {"tenants": {"api_key": {GOOD: "team"}}},
    {"store": {"redis_url": f"http://:{PASSWORD}@127.0.0.1"}},
    {"store": {"redis_url": [PASSWORD]}},
    {"engines": {"token": [TOKEN]}},
    {"engines": {"api_key": {ENGINE_KEY: 1}}},
)
MISSPELT_OR_IN_URLS: tuple[dict[str, dict[str, object]], ...] = (
    {"engines": {"tokens": TOKEN}},
    {"engines": {"urls": f"ftp://user:{PASSWORD}@host"}},
    {"engines": {"urls": f"http://user:{PASSWORD}@host,http://user:{PASSWORD}@host"}},
)


@pytest.mark.parametrize("wrong", [*WRONG_SETTINGS, *MISSPELT_OR_IN_URLS])
def test_a_wrong_setting_is_named_without_its_secret(wrong: dict[str, dict[str, object]]) -> None:
    with pytest.raises(ImpossibleSetting) as refused:
        load_settings({}, None, wrong)
    assert leaks(str(refused.value)) == []


@pytest.mark.parametrize("command", [["settings"], ["serve", "--engine", "http://127.0.0.1:1"]])
def test_the_command_line_shows_no_secret(command: list[str], tmp_path: Path) -> None:
    environment = {
        "PATH": "/usr/bin:/bin",
        "XDG_STATE_HOME": str(tmp_path),
        "JUSTITIA_TENANTS__API_KEYS": f'{{"{GOOD}": "not a name"}}',
        "JUSTITIA_ENGINES__TOKEN": TOKEN,
        "JUSTITIA_STORE__REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:1/0",
    }
    ran = subprocess.run(
        [sys.executable, "-m", "gateway.cli", *command], env=environment, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == (0 if command == ["settings"] else 2)
    assert leaks(ran.stdout + ran.stderr) == []


def test_what_holds_keys_does_not_print_them() -> None:
    ring = KeyRing({key_digest(GOOD): "team"})
    gateway = compose(_settings())
    for text in (repr(ring), repr(LiveKeys(ring)), repr(gateway), pprint.pformat(gateway)):
        assert leaks(text) == []
    with pytest.raises(ValueError, match="not a SHA-256") as refused:
        KeyRing({GOOD: "team"})
    assert leaks(str(refused.value)) == []
