"""The oracle itself, against closed forms and against a server that serves in small slices."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fairness import ApplicationId, FluidArrival, Weight, fluid_gps


def arrival(name: str, at: float, cost: float, weight: int = 1000) -> FluidArrival:
    return FluidArrival(ApplicationId(name), at, cost, Weight(weight))


def finishes(*arrivals: FluidArrival) -> list[tuple[str, Fraction, Fraction]]:
    return [(name, finish.at, finish.virtual_finish_time) for name, finish in fluid_gps(arrivals).items()]


def test_an_empty_trace() -> None:
    assert fluid_gps([]) == {}


def test_alone_one_is_served_at_full_pace() -> None:
    assert finishes(arrival("a", 5, 30, 500)) == [("a", 35, 60)]


def test_what_is_offered_while_nobody_is_there_is_lost() -> None:
    assert finishes(arrival("a", 10, 5), arrival("b", 100, 7)) == [("a", 15, 5), ("b", 107, 12)]


def test_two_share_until_the_smaller_has_finished() -> None:
    assert finishes(arrival("a", 0, 100), arrival("b", 0, 50)) == [("b", 100, 50), ("a", 150, 100)]


def test_shares_follow_weights() -> None:
    # 3 : 1 of 40 of service finishes b; a has 20 of 30 left
    assert finishes(arrival("a", 0, 30, 1000), arrival("b", 0, 30, 3000)) == [("b", 40, 10), ("a", 60, 30)]


def test_a_third_that_arrives_on_a_finish_takes_nothing_before_it() -> None:
    assert finishes(arrival("a", 0, 20), arrival("b", 0, 10), arrival("c", 20, 10)) == [
        ("b", 20, 10),
        ("a", 40, 20),
        ("c", 40, 20),
    ]


def test_zero_cost_finishes_as_it_arrives() -> None:
    assert finishes(arrival("a", 0, 10), arrival("b", 4, 0)) == [("b", 4, 4), ("a", 10, 10)]


def test_equal_finishes_in_order_of_id() -> None:
    assert [name for name, _, _ in finishes(arrival("b", 0, 10), arrival("c", 0, 10), arrival("a", 0, 10))] == list(
        "abc"
    )


def test_an_id_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        fluid_gps([arrival("a", 0, 1), arrival("a", 5, 1)])


@given(st.lists(st.integers(0, 100), min_size=1, max_size=8))
def test_together_and_with_equal_weights_each_finishes_when_everybody_has_had_as_much(costs: list[int]) -> None:
    answer = fluid_gps(arrival(f"{number}", 0, cost) for number, cost in enumerate(costs))
    for number, cost in enumerate(costs):
        finish = answer[ApplicationId(f"{number}")]
        assert finish.at == sum(min(cost, other) for other in costs)
        assert finish.virtual_finish_time == cost


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(1, 20), st.sampled_from([500, 1000, 3000])), min_size=1, max_size=5
    )
)
def test_like_a_server_that_serves_in_small_slices(rows: list[tuple[int, int, int]]) -> None:
    """Slices of 1/8 by weight. At each arrival and finish up to a slice is wasted or late; weights differ 6-fold."""
    trace = [arrival(f"{number}", at, cost, weight) for number, (at, cost, weight) in enumerate(rows)]
    expected, slice_ = fluid_gps(trace), Fraction(1, 8)
    left = {one.application_id: Fraction(one.cost) for one in trace}
    now = Fraction(0)
    while any(left.values()):
        served = [one for one in trace if one.at <= now and left[one.application_id] > 0]
        shares = sum(one.weight for one in served)
        now += slice_
        for one in served:
            name = one.application_id
            left[name] = max(Fraction(0), left[name] - slice_ * one.weight / shares)
            if left[name] == 0:
                assert abs(expected[name].at - now) <= slice_ * 7 * len(trace)
