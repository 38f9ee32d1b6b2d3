"""The fast fluid server against the exact one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fairness.gps import FluidArrival, fluid_gps
from gateway.fairness.units import ApplicationId, Weight
from gateway.replay.ideal import ideal_finishes

ARRIVALS = st.lists(
    st.tuples(
        st.one_of(st.just(0.0), st.integers(0, 300).map(float), st.floats(0, 300)),
        st.one_of(st.integers(1, 200).map(float), st.floats(0.01, 200)),
        st.sampled_from([500, 1000, 1000, 3000]).map(Weight),
    ),
    max_size=12,
)


@given(ARRIVALS)
def test_they_finish_everybody_at_the_same_time(rows: list[tuple[float, float, Weight]]) -> None:
    arrivals = [FluidArrival(ApplicationId(f"a{n:02}"), *row) for n, row in enumerate(rows)]
    exact = {name: float(finish.at) for name, finish in fluid_gps(arrivals).items()}
    assert ideal_finishes(arrivals) == pytest.approx(exact, rel=1e-9, abs=1e-6)


def test_by_hand() -> None:
    """Alone up to 10, halves up to 30 when b has its 10, then alone again: a has had 10 + 10 and needs 20 more."""
    a, b = FluidArrival(ApplicationId("a"), 0.0, 40.0), FluidArrival(ApplicationId("b"), 10.0, 10.0)
    assert ideal_finishes([b, a]) == {"b": 30.0, "a": 50.0}
