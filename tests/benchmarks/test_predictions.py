"""Predictions in the studies: by models that have not seen the application, and refined as often as it is worth it."""

import math
from dataclasses import dataclass
from typing import Any

from benchmarks.predictions import PREDICTIONS, Refining, trained
from gateway.fairness.units import KvTokenTime, Tokens
from gateway.ports import Progress
from gateway.replay.costs import log_normal, oracle
from gateway.workloads.sample import sample_applications

SAMPLE = sample_applications(60, seed=4)


@dataclass
class Said:
    cost: KvTokenTime

    def refined(self, progress: Progress) -> KvTokenTime:
        return progress.service


def progress(service: float) -> Progress:
    return Progress(1, 1, Tokens(10), KvTokenTime(service))


def test_an_estimate_is_passed_on_where_it_is_so_many_times_more_or_less_than_the_last() -> None:
    said: Any = [Said(KvTokenTime(100.0)), Said(KvTokenTime(100.0))]
    refining = Refining(said, 1.5)
    assert refining.costs() == [100, 100]
    assert [refining.refined(0, progress(service)) for service in (140, 160, 200, 110, 100)] == [
        None,
        160,
        None,
        None,
        100,
    ]
    assert refining.refined(1, progress(160)) == 160


def test_nobody_is_predicted_by_what_has_seen_it() -> None:
    known = trained(tuple(SAMPLE))
    assert set(known) == set(SAMPLE)
    # Many models, and each was asked about its own fold.
    assert len({id(one.model) for one in known.values()}) == 5
    without = trained(tuple(SAMPLE), without_kind=True)
    assert all(application.kind not in one.model.kinds for application, one in without.items())


def test_every_prediction_answers_for_every_application() -> None:
    for name, predict in PREDICTIONS.items():
        costs = predict(SAMPLE[:10], SAMPLE, 1)
        assert len(costs) == 10, name
        assert all(cost > 0 for cost in costs), name


def test_log_normal_errors_have_the_size_that_is_said_and_no_bias() -> None:
    exact = oracle(SAMPLE * 50)
    off = [math.log(wrong / true) for wrong, true in zip(log_normal(exact, 0.3, seed=1), exact, strict=True)]
    assert abs(sum(off) / len(off)) < 0.02
    assert abs(math.sqrt(sum(each**2 for each in off) / len(off)) - 0.3) < 0.01
