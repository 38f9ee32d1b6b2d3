"""The index of a kind's costs, against its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.gittins import by_kind, index
from benchmarks.predictions import GITTINS, REFINING
from gateway.fairness.units import KvTokenTime, Tokens
from gateway.ports import Progress
from gateway.replay.costs import true_cost
from gateway.workloads.sample import sample_applications

SAMPLE = sample_applications(60, seed=4)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.integers(0, 50))
def test_the_index_is_the_least_service_expected_for_a_completion(costs: list[int], service: int) -> None:
    left = [cost - service for cost in costs if cost > service]
    found = index(np.sort(np.array(costs, dtype=float)), float(service))
    if not left:
        assert found == 0
        return
    # Service in one go of any length: what it takes on average, over the share that it completes.
    by_length = [sum(min(x, length) for x in left) / sum(x <= length for x in left) for length in left]
    assert found == pytest.approx(min(by_length))
    assert found <= sum(left) / len(left) + 1e-9  # going on to the end is one of the choices


def test_with_one_cost_it_is_what_is_left_and_with_two_far_apart_the_first() -> None:
    assert index(np.array([10.0]), 4.0) == 6
    assert index(np.array([1.0, 100.0]), 0.0) == 2  # one in two is done after 1
    assert index(np.array([1.0, 100.0]), 1.0) == 99


def test_every_application_has_what_the_runs_of_its_kind_cost() -> None:
    known = by_kind(SAMPLE)
    assert set(known) == set(SAMPLE)
    for application in SAMPLE:
        same = sorted(true_cost(other) for other in SAMPLE if other.kind == application.kind)
        assert list(known[application].costs) == same
    first = known[SAMPLE[0]]
    most = KvTokenTime(float(first.costs[-1]))
    progress = Progress(1, 1, Tokens(10), most)
    assert first.refined(progress) == most > first.cost
    assert REFINING[GITTINS].known(tuple(SAMPLE))[SAMPLE[0]].cost == first.cost
