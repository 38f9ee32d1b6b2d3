"""What is kept of a run survives JSON, and becomes pictures."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.fairness.units import ApplicationId, KvTokenTime
from gateway.replay.drawing import draw
from gateway.replay.model import Completion, Moment, Run
from gateway.replay.records import RunRecord, record_of, spread_by

A, B = ApplicationId("000000"), ApplicationId("000001")
RUN = Run(
    policy="justitia",
    completions=(
        Completion(A, "small", 0.0, 2.0, KvTokenTime(100.0), 0.0, 100.0),
        Completion(B, "large", 1.0, 9.0, KvTokenTime(900.0), 50.0, 1000.0),
    ),
    num_steps=10,
    preemptions=0,
    makespan_s=9.0,
    kv_tokens=64,
    mean_kv_use=0.5,
    longest_stay=5,
    moments=(Moment(1.0, {A: 50.0}, {A: -25.0}), Moment(2.0, {A: 100.0, B: 30.0}, {A: -40.0, B: 20.4})),
)
PNG = b"\x89PNG\r\n\x1a\n"


def test_a_record_by_hand() -> None:
    record = record_of(RUN, "ours", followed=[1])
    assert record.jct_s == (2.0, 8.0)
    assert record.kinds == ("small", "large")
    # a: served alone up to 50, then half of what comes, so its 100 are full at 150; b at 1000.
    assert record.lateness_to_gps == (-50, 0)
    assert record.delay_bound == 2 * 64 * 5
    assert [moment.worst_lag for moment in record.moments] == [-25, 20]
    assert [moment.service for moment in record.moments] == [{}, {"1": 30}]


def test_a_record_survives_json() -> None:
    record = record_of(RUN, "ours", followed=[0, 1])
    assert RunRecord.from_dict(json.loads(json.dumps(record.as_dict()))) == record


@pytest.mark.parametrize(("count", "expected"), [(3, [2, 0, 1]), (9, [2, 3, 0, 4, 1]), (2, [2, 1]), (1, [2]), (0, [])])
def test_applications_are_chosen_from_large_to_small(count: int, expected: list[int]) -> None:
    assert spread_by([5.0, 1.0, 9.0, 8.0, 2.0], count) == expected


def test_all_pictures_are_drawn_and_always_the_same(tmp_path: Path) -> None:
    ours = record_of(RUN, "justitia", followed=[0, 1])
    records = [replace(ours, label="vtc", policy="vtc", jct_s=(3.0, 7.0)), ours]
    files = draw(records, tmp_path / "one", "two applications")
    assert sorted(file.stem for file in files) == [
        "completion_times",
        "kinds",
        "lag",
        "lateness_to_gps",
        "lateness_to_vtc",
        "service",
    ]
    for file, again in zip(files, draw(records, tmp_path / "two", "two applications"), strict=True):
        assert file.read_bytes().startswith(PNG)
        assert file.read_bytes() == again.read_bytes()


def test_without_vtc_or_moments_there_are_fewer(tmp_path: Path) -> None:
    files = draw([replace(record_of(RUN, "justitia"), moments=())], tmp_path)
    assert sorted(file.stem for file in files) == ["completion_times", "kinds", "lateness_to_gps"]
