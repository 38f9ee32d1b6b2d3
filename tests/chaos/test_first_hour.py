"""The first hour of on-call: what dies is seen at once, comes back by itself, and no call is lost without a word."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.chaos import tables
from benchmarks.chaos.__main__ import carried_out, faults
from benchmarks.chaos.callers import ANSWERED, CONNECTION, CUT_OFF, HUNG
from benchmarks.chaos.kills import KILLS, Kill
from benchmarks.chaos.stage import SHORT
from tests.deploy.conftest import demand

ROOT = Path(__file__).parents[2]
VISIBLE_S = 10.0

Row = dict[str, Any]

ENDS = {
    "redis": {ANSWERED},
    "engine": {ANSWERED, "502 engine_unreachable", "event engine_unreachable"},
    "gateway": {ANSWERED, CONNECTION},
    "one of two gateways": {ANSWERED, CONNECTION},
}
"""All that a client may see of each death."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Row:
    """About two minutes: nobody tries anything twice, and every death is a `kill -9`."""
    demand("prometheus", "redis-server")
    return carried_out(SHORT, 1, tmp_path_factory.mktemp("chaos"))


def row_of(report: Row, kill: Kill) -> Row:
    [row] = [row for row in report["rows"] if row["killed"] == kill.name]
    return dict(row)


@pytest.mark.redis
def test_every_call_ends_and_the_order_is_kept(report: Row) -> None:
    assert faults(report) == []
    assert report["ended"][ANSWERED] > 50


@pytest.mark.redis
@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: kill.name)
def test_clients_see_nothing_but_what_they_may(report: Row, kill: Kill) -> None:
    assert row_of(report, kill)["calls"].keys() <= ENDS[kill.name]


@pytest.mark.redis
def test_the_other_of_two_gateways_goes_on(report: Row) -> None:
    [row] = [row for row in report["rows"] if row["killed"] == "one of two gateways"]
    rates = row["answers_per_s"]
    assert rates["away"] > rates["before"] / 2
    # What it had, and what was sent there before somebody saw it gone: at the kill, and when its ten seconds are over.
    assert row["calls"][CONNECTION] <= 3 * SHORT.num_callers


@pytest.mark.redis
@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: kill.name)
def test_it_is_visible_everywhere_within_ten_seconds(report: Row, kill: Kill) -> None:
    row = row_of(report, kill)
    wanted = {"readyz_s", "overview_s", "expression_s", "pending_s"} | ({"log_s"} if kill.says_lost else set())
    assert {name for name, at_s in row["seen"].items() if at_s < VISIBLE_S} >= wanted
    assert {name: row["panel"][name] for name in ("before", "during", "after")} == {
        "before": 1,
        "during": 1 - 1 / kill.num_gateways,
        "after": 1,
    }


@pytest.mark.redis
@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: kill.name)
def test_it_comes_back_by_itself_and_nobody_is_paged_any_more(report: Row, kill: Kill) -> None:
    back = row_of(report, kill)["back"]
    assert back.keys() == {"restarted_s", "readyz_s", "overview_s", "log_s", "answered_s", "silent_s"}


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: kill.name)
def test_the_runbook_says_what_to_do(kill: Kill) -> None:
    page = tables.PAGE.read_text()
    section = re.search(rf"^## {kill.alert}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert section is not None
    for head in ("**Means.**", "**Look.**", "**Do.**"):
        assert head in section[1]


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: kill.name)
def test_compose_starts_it_again(kill: Kill) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert services[kill.part]["restart"] == "unless-stopped"


def test_the_runbook_shows_what_was_measured() -> None:
    page, found = tables.PAGE.read_text(), json.loads(tables.RESULT.read_text())
    assert not found["short"]
    assert faults(found) == []
    assert tables.with_chaos(page, found) == page, "python -m benchmarks.chaos.tables"


def test_what_must_not_be_is_told() -> None:
    row = {"killed": "redis", "order": {"applications": 2, "inverted_pairs": 0, "clock_went_back": False}}
    well = {"begun": 3, "ended": {ANSWERED: 3}, "rows": [row]}
    assert faults(well) == []
    assert faults({**well, "begun": 4}) == ["calls have no end"]
    assert faults({**well, "ended": {ANSWERED: 1, HUNG: 1, CUT_OFF: 1}}) == [f"{HUNG}: 1", f"{CUT_OFF}: 1"]
    for wrong in ({"inverted_pairs": 1}, {"clock_went_back": True}, {"applications": 0}):
        assert len(faults({**well, "rows": [{**row, "order": {**row["order"], **wrong}}]})) == 1
