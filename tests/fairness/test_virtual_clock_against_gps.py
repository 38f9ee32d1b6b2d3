"""The clock against exact fluid GPS, which knows no virtual time: same finish times, same backlogged, fair shares.

The oracle works in fractions, the clock in doubles, so they may differ by rounding and nothing else: a few units in the
last place for each operation. TOLERANCE is relative to the largest number in the trace and is 10^4 times that.
"""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fairness import ApplicationId, FluidArrival, FluidFinish, KvTokenTime, VirtualClock, Weight, fluid_gps

TOLERANCE = 1e-11

AMOUNTS = st.one_of(st.integers(0, 50).map(float), st.floats(0, 1e6), st.just(0.0))
WEIGHTS = st.one_of(st.just(1000), st.integers(1, 20_000)).map(Weight)


@dataclass(frozen=True)
class Step:
    """An application, and the service that follows it, in pieces."""

    cost: float
    weight: Weight
    pieces: list[float]


STEPS = st.lists(st.builds(Step, AMOUNTS, WEIGHTS, st.lists(AMOUNTS, max_size=3)), min_size=1, max_size=8)


def names(steps: list[Step]) -> list[ApplicationId]:
    return [ApplicationId(f"app-{number}") for number in range(len(steps))]


def oracle(steps: list[Step]) -> dict[ApplicationId, FluidFinish]:
    arrivals, at = [], Fraction(0)
    for name, step in zip(names(steps), steps, strict=True):
        arrivals.append(FluidArrival(name, at, step.cost, step.weight))
        at += sum(map(Fraction, step.pieces))
    return fluid_gps(arrivals)


def magnitude(steps: list[Step]) -> float:
    return 1 + sum(step.cost * 1000 / step.weight + step.cost + sum(step.pieces) for step in steps)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_same_finish_times_and_same_backlogged_as_the_fluid_server(steps: list[Step]) -> None:
    clock, expected, offered = VirtualClock(), oracle(steps), Fraction(0)
    margin = TOLERANCE * magnitude(steps)
    service_margin = margin * sum(step.weight for step in steps) / 1000  # what `margin` of virtual time can be worth
    arrived: list[ApplicationId] = []
    for name, step in zip(names(steps), steps, strict=True):
        finish = clock.arrive(name, KvTokenTime(step.cost), step.weight)
        arrived.append(name)
        assert abs(finish - expected[name].virtual_finish_time) <= margin
        assert abs(clock.start_time(name) - expected[name].virtual_start) <= margin
        for piece in step.pieces:
            clock.serve(KvTokenTime(piece))
            offered += Fraction(piece)
            for one in arrived:
                left = expected[one].at - offered
                if abs(left) > service_margin:  # nearer than that, rounding may decide
                    assert clock.is_backlogged(one) == (left > 0)


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_departs_in_the_fluid_servers_order(steps: list[Step]) -> None:
    """All arrive at once, so that the order in which GPS finishes them is plain to see."""
    clock = VirtualClock()
    arrivals = [FluidArrival(name, 0, step.cost, step.weight) for name, step in zip(names(steps), steps, strict=True)]
    for name, step in zip(names(steps), steps, strict=True):
        clock.arrive(name, KvTokenTime(step.cost), step.weight)
    finishes = fluid_gps(arrivals)
    order = clock.backlogged()
    for earlier, later in pairwise(order):
        assert finishes[earlier].at <= finishes[later].at + Fraction(TOLERANCE * magnitude(steps)) * len(steps) * 20


@settings(max_examples=150, deadline=None)
@given(STEPS, AMOUNTS)
def test_each_backlogged_application_gets_its_share(steps: list[Step], service: float) -> None:
    """What GPS still owes is (F - V)·weight. Service takes it away, all of it is used, each gets by weight."""
    clock = VirtualClock()
    for name, step in zip(names(steps), steps, strict=True):
        clock.arrive(name, KvTokenTime(step.cost), step.weight)
        clock.serve(KvTokenTime(sum(step.pieces)))
    weights = dict(zip(names(steps), (step.weight for step in steps), strict=True))

    def owed() -> dict[ApplicationId, float]:
        work = {name: (clock.finish_time(name) - clock.virtual_time) * weights[name] / 1000 for name in weights}
        return {name: max(0.0, left) for name, left in work.items()}

    before = owed()
    clock.serve(KvTokenTime(service))
    after = owed()
    margin = TOLERANCE * (magnitude(steps) + service) * sum(weights.values())
    taken = {name: before[name] - after[name] for name in weights}
    assert abs(sum(taken.values()) - min(service, sum(before.values()))) <= margin
    stayed = [name for name in weights if after[name] > 0]
    for one in weights:
        for other in stayed:  # nobody gets more for its weight than one that is still waiting for its own
            assert taken[one] / weights[one] <= taken[other] / weights[other] + margin


@settings(max_examples=80, deadline=None)
@given(STEPS, st.lists(AMOUNTS, max_size=10))
def test_service_in_pieces_is_service_in_one(steps: list[Step], pieces: list[float]) -> None:
    in_one, in_pieces = VirtualClock(), VirtualClock()
    for clock in (in_one, in_pieces):
        for name, step in zip(names(steps), steps, strict=True):
            clock.arrive(name, KvTokenTime(step.cost), step.weight)
    in_one.serve(KvTokenTime(sum(pieces)))
    for piece in pieces:
        in_pieces.serve(KvTokenTime(piece))
    # the sum of the pieces is itself rounded; at the smallest weight a unit of service is 1000 units of virtual time
    margin = TOLERANCE * (magnitude(steps) + 1000 * sum(pieces))
    assert abs(in_one.virtual_time - in_pieces.virtual_time) <= margin
