"""The ideal itself: exact fluid GPS of a whole trace, to check the clock against and to measure delay from.

No virtual time steers this simulation. Every unfinished application has work left; between two events each gets its
share, weight over the sum of the weights of the unfinished, of the service delivered; an event is the next arrival or
the first to run out of work. All in exact fractions, O(n) an event, for tests and benchmarks of some hundreds of
applications. Virtual time is only written down beside it: the integral of (service) / (sum of weights).

The axis is service offered (token·iterations since the beginning of the trace), not seconds. What is offered while
nobody has work is lost, and moves virtual time by nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from gateway.fairness.units import UNIT_WEIGHT, ApplicationId, Weight


@dataclass(frozen=True, slots=True)
class FluidArrival:
    """An application of the trace. `at`: service offered before it arrives; `cost`: token·iterations, known exactly."""

    application_id: ApplicationId
    at: Fraction | float
    cost: Fraction | float
    weight: Weight = UNIT_WEIGHT


@dataclass(frozen=True, slots=True)
class FluidFinish:
    """When the fluid server has served an application in full, on the axis of service and in virtual time."""

    at: Fraction
    virtual_start: Fraction
    virtual_finish_time: Fraction


@dataclass(slots=True)
class _Unfinished:
    application_id: ApplicationId
    share: Fraction
    work: Fraction
    virtual_start: Fraction


def fluid_gps(arrivals: Iterable[FluidArrival]) -> dict[ApplicationId, FluidFinish]:
    """Serve the whole trace to its end; the answer is in the order of finishing, ties by id. Ids must be distinct."""
    coming = sorted(arrivals, key=lambda arrival: (arrival.at, arrival.application_id), reverse=True)
    if len({arrival.application_id for arrival in coming}) < len(coming):
        raise ValueError("an application arrives twice in this trace")
    finished: dict[ApplicationId, FluidFinish] = {}
    unfinished: list[_Unfinished] = []
    now, virtual_time = Fraction(0), Fraction(0)
    while coming or unfinished:
        step = _until_next_event(coming, unfinished, now)
        now += step
        virtual_time += _deliver(step, unfinished)
        while coming and coming[-1].at <= now:
            arrival = coming.pop()
            share, work = Fraction(arrival.weight, UNIT_WEIGHT), Fraction(arrival.cost)
            unfinished.append(_Unfinished(arrival.application_id, share, work, virtual_time))
        for one in sorted(unfinished, key=lambda one: one.application_id):
            if one.work == 0:
                finished[one.application_id] = FluidFinish(now, one.virtual_start, virtual_time)
        unfinished = [one for one in unfinished if one.work > 0]
    return finished


def _until_next_event(coming: list[FluidArrival], unfinished: list[_Unfinished], now: Fraction) -> Fraction:
    """Service to be offered until somebody arrives or runs out of work."""
    shares = sum((one.share for one in unfinished), Fraction(0))
    steps = [one.work / one.share * shares for one in unfinished]
    if coming:
        steps.append(Fraction(coming[-1].at) - now)
    return min(steps)


def _deliver(service: Fraction, unfinished: list[_Unfinished]) -> Fraction:
    """Give each its share; answers service per unit of weight, nothing when nobody is there to take it."""
    if not unfinished:
        return Fraction(0)
    per_unit = service / sum((one.share for one in unfinished), Fraction(0))
    for one in unfinished:
        one.work -= per_unit * one.share
    return per_unit
