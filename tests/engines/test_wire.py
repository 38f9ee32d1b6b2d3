import math
import sys

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.engines.wire import MAX_WIRE_RANK, rank_to_wire

ranks = st.floats(min_value=0.0, allow_nan=False, allow_infinity=False)


@given(ranks, ranks)
@example(1.0, math.nextafter(1.0, 2.0))
@example(0.0, sys.float_info.min * sys.float_info.epsilon)
def test_the_integers_have_the_order_of_the_ranks(a: float, b: float) -> None:
    assert (rank_to_wire(a) < rank_to_wire(b)) == (a < b)


@given(st.floats(allow_nan=True, allow_infinity=True))
@example(-0.0)
@example(math.inf)
@example(math.nan)
@example(-math.inf)
def test_every_float_fits_the_header(rank: float) -> None:
    assert 0 <= rank_to_wire(rank) <= MAX_WIRE_RANK < 2**63


def test_what_is_no_rank_is_clamped() -> None:
    assert rank_to_wire(-0.0) == rank_to_wire(-5.0) == rank_to_wire(-math.inf) == rank_to_wire(0.0) == 0
    assert rank_to_wire(math.inf) == rank_to_wire(math.nan) == rank_to_wire(sys.float_info.max) == MAX_WIRE_RANK
