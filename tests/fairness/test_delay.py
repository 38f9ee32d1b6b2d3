"""How late applications are against the fluid server: justitia keeps a bound that fcfs breaks.

The server here serves one call at a time, to its end, one unit of service after the other; all calls of an application
are there when it arrives. For that server the bound can be derived (docs/algorithm.md): no application finishes later
than in GPS by more than the largest single call. The fluid finishes are computed by the oracle, not copied.
"""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fairness import (
    UNIT_WEIGHT,
    ApplicationId,
    ApplicationView,
    CallView,
    FluidArrival,
    KvTokenTime,
    Policy,
    PolicyName,
    VirtualClock,
    Weight,
    fluid_gps,
    policy_named,
)


@dataclass(frozen=True)
class Job:
    """`at` in service offered; `calls` are the costs of its calls, all at hand at once."""

    at: float
    calls: tuple[float, ...]
    weight: Weight = UNIT_WEIGHT


def name_of(number: int) -> ApplicationId:
    return ApplicationId(f"app-{number:02}")


class OneByOne:
    """The server: one call at a time, picked by (rank, application id, order), never interrupted."""

    def __init__(self, jobs: list[Job], policy: Policy) -> None:
        self.clock, self.policy, self.now = VirtualClock(), policy, 0.0
        self.coming = sorted(((job.at, name_of(number), job) for number, job in enumerate(jobs)), reverse=True)
        self.views: dict[ApplicationId, ApplicationView] = {}
        self.waiting: list[tuple[ApplicationId, int, CallView]] = []
        self.finished: dict[ApplicationId, float] = {}

    def run(self) -> dict[ApplicationId, float]:
        """When each application's last call ends."""
        while self.coming or self.waiting:
            if not self.waiting:
                self.advance_to(self.coming[-1][0])
            chosen = min(self.waiting, key=lambda entry: (self.policy.rank(self.views[entry[0]], entry[2]), *entry[:2]))
            self.waiting.remove(chosen)
            name, _, call = chosen
            self.advance_to(self.now + call.predicted_cost)
            self.views[name].service = KvTokenTime(self.views[name].service + call.predicted_cost)
            self.finished[name] = self.now
        return self.finished

    def advance_to(self, then: float) -> None:
        """Let service pass; whoever comes in the meantime finds the clock where it is at that moment."""
        while self.coming and self.coming[-1][0] <= then:
            at, name, job = self.coming.pop()
            self.clock.serve(KvTokenTime(at - self.now))
            self.now = at
            cost = KvTokenTime(sum(job.calls))
            finish = self.clock.arrive(name, cost, job.weight)
            self.views[name] = ApplicationView(name, at, job.weight, finish, cost, KvTokenTime(0.0))
            self.waiting += [(name, order, CallView(at, KvTokenTime(one))) for order, one in enumerate(job.calls)]
        self.clock.serve(KvTokenTime(then - self.now))
        self.now = then


def lateness(jobs: list[Job], policy: Policy) -> dict[ApplicationId, float]:
    fluid = fluid_gps(FluidArrival(name_of(n), job.at, sum(job.calls), job.weight) for n, job in enumerate(jobs))
    real = OneByOne(jobs, policy).run()
    return {name: end - float(fluid[name].at) for name, end in real.items()}


def largest_call(jobs: list[Job]) -> float:
    return max(max(job.calls) for job in jobs)


CALL_COSTS = st.integers(1, 30).map(float)
JOBS = st.lists(
    st.builds(
        Job,
        st.integers(0, 200).map(float),
        st.lists(CALL_COSTS, min_size=1, max_size=12).map(tuple),
        st.sampled_from([1000, 1000, 2000, 500, 3000]).map(Weight),
    ),
    min_size=1,
    max_size=10,
)


@settings(max_examples=150, deadline=None)
@given(JOBS)
def test_under_justitia_nobody_is_later_than_in_gps_by_more_than_one_call(jobs: list[Job]) -> None:
    rounding = 1e-9 * (1 + sum(sum(job.calls) for job in jobs))
    late = lateness(jobs, policy_named("justitia"))
    assert len(late) == len(jobs)
    assert max(late.values()) <= largest_call(jobs) + rounding


ELEPHANT_THEN_MICE = [Job(0.0, (20.0,) * 50), *(Job(1.0 + n, (5.0, 5.0)) for n in range(5))]


@pytest.mark.parametrize("name", ["fcfs", "app-fcfs"])
def test_fcfs_breaks_the_bound_that_justitia_keeps(name: PolicyName) -> None:
    bound = largest_call(ELEPHANT_THEN_MICE)
    assert max(lateness(ELEPHANT_THEN_MICE, policy_named("justitia")).values()) <= bound
    late = lateness(ELEPHANT_THEN_MICE, policy_named(name))
    mice = [late[name_of(number)] for number in range(1, 6)]
    assert min(mice) > 40 * bound  # all of them wait for 50 calls of an application that came a moment earlier


def mean_completion(jobs: list[Job], policy: Policy) -> float:
    finished = OneByOne(jobs, policy).run()
    return sum(finished[name_of(n)] - job.at for n, job in enumerate(jobs)) / len(jobs)


def test_taking_turns_beats_sharing_for_applications_of_one_size() -> None:
    """Four alike: GPS ends them all together at the end; in order of F they end one after another."""
    jobs = [Job(0.0, (10.0,) * 10) for _ in range(4)]
    fluid = fluid_gps(FluidArrival(name_of(number), job.at, sum(job.calls)) for number, job in enumerate(jobs))
    assert [finish.at for finish in fluid.values()] == [400] * 4
    assert sorted(OneByOne(jobs, policy_named("justitia")).run().values()) == [100.0, 200.0, 300.0, 400.0]
    assert mean_completion(jobs, policy_named("justitia")) == 250.0
    assert mean_completion(jobs, policy_named("las")) == 385.0  # the last calls, in turns: 370, 380, 390, 400
