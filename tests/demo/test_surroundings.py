"""What is noted about the machine beside a measurement."""

from pathlib import Path

import pytest

from gateway.demo import surroundings
from gateway.demo.surroundings import StolenTime


def test_the_stolen_share_is_of_all_time_since_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tmp_path / "stat"
    monkeypatch.setattr(surroundings, "_STAT", stat)
    stat.write_text("cpu  100 0 10 500 3 0 2 60 7 9\ncpu0 1 2 3 4 5 6 7 8 9 10\n")
    stolen = StolenTime()
    assert stolen.share() is None  # no tick yet
    stat.write_text("cpu  130 0 10 530 3 0 2 100 99 9\ncpu0 1 2 3 4 5 6 7 8 9 10\n")
    assert stolen.share() == 0.4


def test_where_nobody_tells_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "_STAT", tmp_path / "missing")
    assert StolenTime().share() is None
