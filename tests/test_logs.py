"""Lines of the log: what they say, in text and in JSON, and what nobody can make them say."""

import json
import logging
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.call_log import MAX_LINES_A_SECOND, CallLog
from gateway.call_report import CallReport
from gateway.http import call_watch
from gateway.logs import JsonLines, Lines, TextLines, escaped
from tests.fakes.engine import FakeVllm, answers, resets
from tests.http.gateways import RunningGateway, running_gateway, until

CHAT = "/v1/chat/completions"
ASK = {"model": "tiny", "messages": [{"role": "user", "content": "a secret question"}]}
HOSTILE = "a\nFORGED 2026-01-01 WARNING x: y\r\x1b[2J\x9b1m\u2028\u202e\x00\ufeff\x7fb"


@contextmanager
def lines_of(formatter: logging.Formatter) -> Iterator[StringIO]:
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield stream
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def record(message: str, *args: object, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("gateway.x", logging.WARNING, "x.py", 1, message, args, None)
    if fields:
        made.fields = fields
    return made


# --- lines ----------------------------------------------------------------------------------------------------------


def test_a_line_of_text() -> None:
    line = TextLines().format(record("engine %s is lost", "e:1", kind="a b", tokens=3))
    assert re.fullmatch(
        r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING gateway\.x: engine e:1 is lost kind="a b" tokens=3', line
    )
    assert " WARNING worker 2 gateway.x: " in TextLines(2).format(record("said"))


def test_a_line_of_json() -> None:
    line = json.loads(JsonLines(2).format(record("engine %s is lost", "e:1", tokens=3)))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "WARNING",
        "logger": "gateway.x",
        "message": "engine e:1 is lost",
        "worker": 2,
        "tokens": 3,
    }


@pytest.mark.parametrize("formatter", [TextLines(), JsonLines()])
def test_what_is_hostile_makes_no_second_line_and_moves_no_cursor(formatter: logging.Formatter) -> None:
    line = formatter.format(record("model %s", HOSTILE, name=HOSTILE))
    assert line.isprintable()
    assert len(line.splitlines()) == 1
    if isinstance(formatter, JsonLines):
        assert json.loads(line)["message"] == f"model {HOSTILE}"


def test_what_is_harmless_stays_as_it_is() -> None:
    assert escaped("grüße, 世界 · ≤ 3") == "grüße, 世界 · ≤ 3"


@pytest.mark.parametrize("formatter", [TextLines(), JsonLines()])
def test_a_traceback_forges_nothing_either(formatter: logging.Formatter) -> None:
    made = record("it broke")
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        made.exc_info = sys.exc_info()
    first, *others = formatter.format(made).splitlines()
    assert first.isprintable()
    assert all(line.startswith("  | ") and line.isprintable() for line in others)
    if isinstance(formatter, JsonLines):
        assert not others
        assert "ValueError" in json.loads(first)["exception"]
    else:
        assert any("Traceback" in line for line in others)


def test_lines_that_follow_at_once_are_written_together_and_none_is_kept_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[str] = []
    handler = Lines()
    handler.setFormatter(logging.Formatter("%(message)s"))
    monkeypatch.setattr(handler, "stream", SimpleNamespace(write=written.append, flush=lambda: None))
    log = logging.getLogger("gateway.calls")
    monkeypatch.setattr(log, "handlers", [handler])
    monkeypatch.setattr(log, "propagate", False)
    log.setLevel(logging.WARNING)
    calls = CallLog(lambda: 1.0, is_complete=True)
    well, failed = (report(code) for code in (None, "internal_error"))
    try:
        calls.write([(failed, None), (failed, None), (well, None)])  # the last of them has no line at this level
        log.setLevel(logging.INFO)
        calls.write([(well, None), (failed, None)])
        handler.handle(record("another"))
    finally:
        log.setLevel(logging.NOTSET)
    assert written == ["call failed\ncall failed\n", "call rejected\ncall failed\n", "another\n"]


def report(code: str | None) -> CallReport:
    return CallReport("request", CHAT, 1.0, 2.0, 2 * 10**9, None, None, 200, code, ())


# --- calls ----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def told(*engines: FakeVllm, **groups: dict[str, object]) -> AsyncIterator[tuple[RunningGateway, StringIO]]:
    with lines_of(JsonLines()) as stream:
        async with running_gateway(*engines, **groups) as gateway:
            yield gateway, stream


def calls_in(stream: StringIO) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [line for line in lines if line["logger"] == "gateway.calls"]


async def test_every_call_where_all_are_wanted() -> None:
    async with FakeVllm() as engine, told(engine, logs={"calls": "all"}) as (gateway, stream):
        answer = await gateway.post(f"/apps/demo{CHAT}", ASK, headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
        await until(lambda: bool(calls_in(stream)))
    [line] = calls_in(stream)
    assert 0 <= line.pop("queue_ms") <= line.pop("ttft_ms") <= line.pop("total_ms") < 20_000
    assert line.pop("call_id").startswith("call-")
    assert line.pop("time")
    assert line == {
        "level": "INFO",
        "logger": "gateway.calls",
        "message": "call completed",
        "request_id": answer.headers["x-request-id"],
        "application": "anonymous/demo",
        "kind": "default",
        "tenant_class": "standard",
        "engine": engine.url.removeprefix("http://"),
        "outcome": "completed",
        "status": 200,
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "trace_id": "a" * 32,
    }
    assert "secret" not in stream.getvalue()


async def test_those_that_end_badly_by_default() -> None:
    keys = {"api_keys": {"sk-very-secret": "alice"}}
    headers = {"authorization": "Bearer sk-very-secret"}
    async with FakeVllm() as engine, told(engine, tenants=keys) as (gateway, stream):
        await gateway.post(CHAT, ASK, headers=headers)
        await gateway.post(CHAT, ASK, headers={"authorization": "Bearer sk-wrong-secret"})
        await gateway.post(CHAT, ASK | {"model": HOSTILE}, headers=headers)
        engine.on_call = answers({"error": "broken"}, 500)
        await gateway.post(CHAT, ASK, headers=headers)
        engine.on_call = resets
        await gateway.post(CHAT, ASK, headers=headers)
        await until(lambda: len(calls_in(stream)) == 4)
    seen = [(line["level"], line["message"], line.get("code"), line["status"]) for line in calls_in(stream)]
    assert seen == [
        ("INFO", "call rejected", "authentication_failed", 401),
        ("INFO", "call rejected", "model_not_found", 404),
        ("WARNING", "call completed", None, 500),
        ("WARNING", "call failed", "engine_unreachable", 502),
    ]
    assert "secret" not in stream.getvalue()


async def test_one_that_ends_badly_is_told_at_once_after_those_before_it() -> None:
    async with FakeVllm() as engine, told(engine, logs={"calls": "all"}) as (gateway, stream):
        for _ in range(3):
            await gateway.post(CHAT, ASK)
        await gateway.post(CHAT, ASK | {"model": "missing"})
        said = [line["message"] for line in calls_in(stream)]
        times = [line["time"] for line in calls_in(stream)]
    assert said == ["call completed"] * 3 + ["call rejected"]
    assert times == sorted(times)


async def test_what_ended_just_before_the_gateway_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_watch, "_NOTED_S", 60.0)
    async with FakeVllm() as engine:
        async with told(engine, logs={"calls": "all"}) as (gateway, stream):
            for _ in range(3):
                await gateway.post(CHAT, ASK)
        assert len(calls_in(stream)) == 3


async def test_a_call_that_another_engine_served() -> None:
    failed: list[None] = []
    async with FakeVllm() as one, FakeVllm() as other, told(one, other) as (gateway, stream):
        good = one.on_call

        async def script(conversation: Any) -> None:
            failed.append(None)
            await (resets if len(failed) == 1 else good)(conversation)

        one.on_call = other.on_call = script
        assert (await gateway.post(CHAT, ASK)).status_code == 200
        await until(lambda: bool(calls_in(stream)))
    [line] = calls_in(stream)
    assert (line["level"], line["message"], line["outcome"]) == ("WARNING", "call completed, retried once", "completed")
    assert {line["engine"], line["retried_from"]} == {engine.url.removeprefix("http://") for engine in (one, other)}


async def test_none_where_none_are_wanted() -> None:
    async with FakeVllm() as engine, told(engine, logs={"calls": "none"}) as (gateway, stream):
        await gateway.post(CHAT, ASK | {"model": "missing"})
        await gateway.post(CHAT, ASK)
    assert not calls_in(stream)


async def test_an_engines_coming_and_going_reads_well() -> None:
    async with FakeVllm() as engine:
        async with told(engine) as (gateway, stream):
            await engine.stop()
            await until(lambda: not gateway.dispatcher.engines_serving("tiny"))
            gateway.dispatcher.begin_drain()
        lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    said = [f"{line['level']} {line['message']}" for line in lines if line["logger"].startswith("gateway.scheduling")]
    name = engine.url.removeprefix("http://")
    assert said[0] == f"INFO engine {name}: mode patched, models tiny"
    assert said[1].startswith(f"WARNING engine {name} is lost: ")
    assert said[2] == "INFO draining: 0 calls waiting are refused, 0 running may finish"


def test_a_flood_of_refusals_is_told_by_its_number(caplog: pytest.LogCaptureFixture) -> None:
    now = [100.0]
    log = CallLog(lambda: now[0], is_complete=False)
    assert [log.has_room() for _ in range(500)].count(True) == MAX_LINES_A_SECOND
    now[0] = 101.5
    assert log.has_room()
    assert caplog.messages == ["400 more calls ended badly at that time and are not listed"]


async def test_all_means_all() -> None:
    async with FakeVllm() as engine, told(engine, logs={"calls": "all"}) as (gateway, stream):
        gateway.dispatcher.begin_drain()
        for _ in range(2 * MAX_LINES_A_SECOND):
            await gateway.post(CHAT, ASK)
        assert len(calls_in(stream)) == 2 * MAX_LINES_A_SECOND
