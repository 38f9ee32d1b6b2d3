"""Predictions in the studies: by models that have not seen the application, and errors of a known size."""

import math

from benchmarks.predictions import PREDICTIONS, told_of, trained
from gateway.fairness.units import KvTokenTime, Tokens
from gateway.ports import Progress
from gateway.replay.costs import log_normal, oracle, true_cost
from gateway.workloads.sample import sample_applications

SAMPLE = sample_applications(60, seed=4)


def test_nobody_is_predicted_by_what_has_seen_it() -> None:
    known = trained(tuple(SAMPLE))
    assert set(known) == set(SAMPLE)
    # Many models, and each was asked about its own fold.
    assert len({id(one.model) for one in known.values()}) == 5
    without = trained(tuple(SAMPLE), without_kind=True)
    assert all(application.kind not in one.model.kinds for application, one in without.items())


def test_without_words_nobody_is_told_what_was_asked() -> None:
    assert any(one.features.words for one in trained(tuple(SAMPLE)).values())
    assert not any(one.features.words for one in trained(tuple(SAMPLE), without_words=True).values())


def test_of_one_kind_the_true_costs_are_told_and_of_no_other() -> None:
    kind, predicted, progress = SAMPLE[0].kind, trained(tuple(SAMPLE)), Progress(1, 1, Tokens(10), KvTokenTime(5.0))
    for application, one in told_of(tuple(SAMPLE), kind=kind).items():
        if application.kind == kind:
            assert one.cost == one.refined(progress) == true_cost(application)
        else:
            assert one is predicted[application]


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
