"""What the soak makes of its samples, and its two ends against each other."""

import asyncio
import json
import random
from collections.abc import Sequence
from typing import Any

import pytest

from benchmarks.soak import tables, verdict
from benchmarks.soak.engine import SoakedVllm
from benchmarks.soak.traffic import TENANTS, Client, Seen, flow, how_it_ended
from tests.fakes.waiting import until

Row = dict[str, Any]


def sample(number: int, **changed: Any) -> Row:
    keys = {"application": 100, "link": 2000, "clock": 1, "open": 1}
    return {
        "at_s": 10.0 * number,
        "resident_mib": 100.0,
        "files": 60,
        "connections": 40,
        "running": 10,
        "threads": 6,
        "redis_mib": 3.0,
        "open_applications": 100,
        "keys": keys,
        "series": 400,
        "label_values": 40,
    } | changed


def report(samples: Sequence[Row]) -> Row:
    return {
        "seconds": 1000.0,
        "applications": 1000,
        "streams": 10,
        "unnamed": 5,
        "ended": {"answered": 20, "left": 1, "429 quota_exceeded": 2},
        "engine_killed_at_s": 500.0,
        "engine_away_s": 5.0,
        "samples": list(samples),
        "faults": [],
    }


def flat() -> list[Row]:
    return [sample(number) for number in range(100)]


def test_what_stays_is_flat() -> None:
    assert verdict.faults(report(flat()), []) == []


def test_too_short_a_run_says_nothing() -> None:
    assert verdict.faults(report(flat()[:4]), []) == ["too few samples to tell"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resident_mib", "memory of the gateway, MiB"),
        ("files", "the same without calls' connections"),
        ("threads", "threads"),
        ("redis_mib", "memory of Redis, MiB"),
        ("series", "metric series"),
        ("label_values", "label values"),
    ],
)
def test_whatever_grows_is_named(name: str, words: str) -> None:
    growing = [one | {name: one[name] + number} for number, one in enumerate(flat())]
    [fault] = verdict.faults(report(growing), [])
    assert fault.startswith(f"{words} grew from ")


def test_links_that_stay_are_named() -> None:
    growing = [one | {"keys": {**one["keys"], "link": 2000 + 10 * number}} for number, one in enumerate(flat())]
    [fault] = verdict.faults(report(growing), [])
    assert fault.startswith("Redis keys of links grew from ")


def test_redis_holds_what_is_open_and_no_more() -> None:
    samples = [one | {"keys": {**one["keys"], "application": 200}} for one in flat()]
    assert verdict.faults(report(samples), []) == ["Redis has records of 100 applications that are not open"]
    many = [one | {"open_applications": 300, "keys": {**one["keys"], "application": 300}} for one in flat()]
    [fault] = verdict.faults(report(many), [])
    assert "300 applications are open, of 180" in fault
    assert verdict.faults(report(flat()), ["link"]) == ["keys of the sort 'link' have no time to live"]


def test_the_page_shows_what_was_measured() -> None:
    found = json.loads(tables.RESULT.read_text())
    page = tables.PAGE.read_text()
    assert tables.with_soak(page, found) == page, "python -m benchmarks.soak.tables"
    assert found["seconds"] >= 1800


def test_an_error_is_named_by_its_code() -> None:
    error = b'{"error": {"message": "m", "type": "t", "param": null, "code": "queue_full"}}'
    assert how_it_ended(429, error) == "429 queue_full"
    assert how_it_ended(200, b'data: {"choices": []}\n\ndata: ' + error + b"\n\n") == "stream: queue_full"
    assert how_it_ended(200, b"data: [DONE]\n\n") == "answered"
    assert how_it_ended(502, b"<html>") == "502 of no known shape"


def test_what_is_remembered_is_bounded_and_numbered_as_a_whole() -> None:
    engine = SoakedVllm(0)
    for number in range(5000):
        engine.finished.append({"sequence": number})
    assert len(engine.finished) == 5000
    assert [record["sequence"] for record in engine.finished[4990:]] == list(range(4990, 5000))
    assert engine.finished[0:][0] == {"sequence": 3000}


async def _is_enough(seen: Seen, flowing: "asyncio.Task[None]") -> bool:
    return seen.ended["answered"] >= 60 or flowing.done()


async def _has_seen_them_leave(engine: SoakedVllm) -> bool:
    return not engine._in_flight


async def test_every_sort_of_traffic_is_answered_by_the_engine_alone() -> None:
    seen = Seen()
    async with SoakedVllm(0) as engine:
        client = Client(engine.port)
        flowing = asyncio.create_task(flow(client, dict.fromkeys(TENANTS, "key"), 100.0, seen, random.Random(7)))
        await until(lambda: _is_enough(seen, flowing))
        assert not flowing.done()
        flowing.cancel()
        await asyncio.gather(flowing, return_exceptions=True)
        assert client.num_calls == 0
        client.close()
        await until(lambda: _has_seen_them_leave(engine))
    assert seen.streams
    assert seen.unnamed
    assert set(seen.ended) <= {"answered", "left"}
