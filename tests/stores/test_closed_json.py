"""What is written is read back to the last bit, and nothing else is read."""

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.fairness.units import KvTokenTime
from gateway.fairness.virtual_clock import MAX_COST
from gateway.ports import ClosedApplication, Progress
from gateway.stores.closed_json import MAX_BYTES, MAX_PROGRESS, closed_from_json, closed_to_json, readable
from gateway.stores.strict_json import MAX_TEXT_CHARACTERS
from tests.stores.closed_applications import CLOSED

GOOD: dict[str, Any] = json.loads(closed_to_json(CLOSED))
NAN, INFINITE = float("nan"), float("inf")


def text(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


@pytest.mark.parametrize(
    "application",
    [
        CLOSED,
        replace(CLOSED, low=None, high=None, features={}, progress=()),
        replace(CLOSED, cost=KvTokenTime(5e-324), predicted_cost=KvTokenTime(0.0), kind="вид \ud800\n\u2028"),
        replace(CLOSED, cost=KvTokenTime(MAX_COST), features={"nested": {"a": [[1, True, None, "name"]]}}),
        replace(CLOSED, progress=CLOSED.progress * (MAX_PROGRESS // 2)),
    ],
)
def test_what_is_written_is_read_back(application: ClosedApplication) -> None:
    line = closed_to_json(application)
    assert closed_from_json(line.encode()) == application
    assert line.isascii()
    assert "\n" not in line


def test_whole_numbers_are_read_as_what_they_are() -> None:
    read = closed_from_json(text(cost=5, progress=[[1, 2, 3, 4]]))
    assert (type(read.cost), type(read.progress[0].service), type(read.progress[0].num_ended)) == (float, float, int)


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"5",
        b"{}",
        text()[:-1],
        text() + b"x",
        b"[" * 100_000,
        b'{"a":' * 20_000,
        text(features={"n": 1})[:-1] + b"0" * 5000 + b"}",
        text(format=2),
        text(format=True),
        text(format="1"),
        text(more=1),
        json.dumps({name: value for name, value in GOOD.items() if name != "low"}).encode(),
        text(closed_at=None),
        text(closed_at=-1),
        text(closed_at=1.7e12),
        text(kind=None),
        text(kind="k" * (MAX_TEXT_CHARACTERS + 1)),
        text(predictor=5),
        *(text(cost=bad) for bad in (0, 0.0, -1, NAN, INFINITE, -INFINITE, 2 * MAX_COST, 10**400, "5", None, True, [])),
        *(text(predicted_cost=bad) for bad in (-1, NAN, INFINITE, None, "5", False)),
        *(text(low=bad, high=bad) for bad in (-1, NAN, INFINITE, "5", False)),
        text().replace(b'"low": 0.0', b'"low": 1e999'),
        *(text(features=bad) for bad in (None, [], "text", {"x": NAN}, {"x": [INFINITE]}, {"x": [[[[[1]]]]]})),
        text(features={"x": "what is asked, at length " * 20}),
        text(features={"what is asked, at length " * 20: 1}),
        text(features={"x": [["what is asked, at length " * 20]]}),
        text(features={"x": [1] * MAX_BYTES}),
        *(text(progress=bad) for bad in (None, {}, [None], [[]], [[1, 2, 3]], [[1, 2, 3, 4, 5]], [[1, 2, 3, -4]])),
        *(text(progress=[bad]) for bad in ([1.0, 2, 3, 4], [True, 2, 3, 4], [-1, 2, 3, 4], [1, 2**54, 3, 4])),
        text(progress=[[1, 2, 3, 4]] * (MAX_PROGRESS + 1)),
    ],
)
def test_anything_else_is_refused(bad: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        closed_from_json(bad)


@pytest.mark.parametrize(
    "bad",
    [
        replace(CLOSED, cost=KvTokenTime(0.0)),
        replace(CLOSED, cost=KvTokenTime(NAN)),
        replace(CLOSED, closed_at=INFINITE),
        replace(CLOSED, kind="k" * (MAX_TEXT_CHARACTERS + 1)),
        replace(CLOSED, features={"x": object()}),
        replace(CLOSED, features={"x": "what is asked, at length " * 20}),
        replace(CLOSED, progress=(Progress(1, 2, 3.5, KvTokenTime(4)),)),  # type: ignore[arg-type]
        replace(CLOSED, progress=CLOSED.progress * MAX_PROGRESS),
    ],
)
def test_what_could_not_be_read_back_is_not_written(bad: ClosedApplication) -> None:
    with pytest.raises(ValueError, match=r"."):
        closed_to_json(bad)


def test_an_error_does_not_repeat_a_text() -> None:
    with pytest.raises(ValueError, match="must be a number") as caught:
        closed_from_json(text(cost="what is asked, at length " * 20))
    assert len(str(caught.value)) < 120


def test_rubbish_between_good_lines_is_passed_over() -> None:
    assert list(readable([b"", text(cost=1), b"\xff", text(format=2), text(cost=2)])) == [
        replace(CLOSED, cost=KvTokenTime(1.0)),
        replace(CLOSED, cost=KvTokenTime(2.0)),
    ]
