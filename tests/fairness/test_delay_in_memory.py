"""The delay bound for an engine: many calls side by side in one KV memory (docs/algorithm.md derives it).

Calls are admitted in order of (F, application id, order), all calls of an application are there when it arrives, and
its cost is known (`tests/fakes/memory_engine.py`). Then it is later than in GPS by at most 2·M·D tokens·iterations of
service, where D is the largest number of iterations that one call runs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fairness import (
    POLICY_NAMES,
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
from gateway.fairness.cost import application_cost, call_cost
from gateway.fairness.units import Tokens
from tests.fakes import memory_engine
from tests.fakes.memory_engine import LENGTHS, Lengths, MemoryEngine, Running, bound, name_of


@dataclass(frozen=True)
class Job(memory_engine.Job):
    weight: Weight = UNIT_WEIGHT


class Engine(MemoryEngine[Job]):
    def __init__(self, jobs: Sequence[Job], policy: Policy) -> None:
        super().__init__(jobs)
        self.policy = policy
        self.clock = VirtualClock()
        self.views: dict[ApplicationId, ApplicationView] = {}

    def arrive(self, name: ApplicationId, job: Job) -> None:
        finish = self.clock.arrive(name, job.cost, job.weight)
        self.views[name] = ApplicationView(name, self.delivered, job.weight, finish, job.cost, KvTokenTime(0.0))
        self.policy.joined(name, job.weight)

    def first(self) -> tuple[ApplicationId, int]:
        calls = (
            (self.policy.rank(view, CallView(view.arrived_at, call_cost(*lengths))), name, order)
            for name, waiting in self.waiting.items()
            for view in [self.views[name]]
            for order, lengths in enumerate(waiting)
        )
        _, name, order = min(calls)
        return name, order

    def served(self, service: Mapping[ApplicationId, int], ended: Sequence[Running]) -> None:
        for name, amount in service.items():
            self.views[name].service = KvTokenTime(self.views[name].service + amount)
        self.clock.serve(KvTokenTime(sum(service.values())))
        for one in ended:
            self.policy.charged(one.application_id, *one.lengths)
        for name in {one.application_id for one in ended}:
            if self.is_finished(name):
                self.policy.left(name)


def lateness(jobs: list[Job], policy: Policy) -> dict[ApplicationId, float]:
    real = Engine(jobs, policy)
    real.run()
    arrivals = [
        FluidArrival(name_of(n), real.views[name_of(n)].arrived_at, job.cost, job.weight) for n, job in enumerate(jobs)
    ]
    fluid = fluid_gps(arrivals)
    return {name: end - float(fluid[name].at) for name, end in real.finished.items()}


JOBS = st.lists(
    st.builds(
        Job,
        st.integers(0, 3000).map(float),
        st.lists(LENGTHS, min_size=1, max_size=15).map(tuple),
        st.sampled_from([1000, 1000, 2000, 500, 3000]).map(Weight),
    ),
    min_size=1,
    max_size=12,
)


@given(JOBS)
def test_under_justitia_nobody_is_later_than_the_bound(jobs: list[Job]) -> None:
    late = lateness(jobs, policy_named("justitia"))
    assert len(late) == len(jobs)
    assert max(late.values()) <= bound(jobs) + 1e-6


def elephant_among_mice(num_mice: int, num_calls: int) -> list[Job]:
    """The elephant first; then mice, each as soon as the one before could have been served."""
    mouse = ((Tokens(10), Tokens(4)),)
    every = float(application_cost(mouse))
    return [
        Job(0.0, ((Tokens(20), Tokens(10)),) * num_calls),
        *(Job(1.0 + every * number, mouse) for number in range(num_mice)),
    ]


def test_fcfs_breaks_the_bound_on_mice() -> None:
    jobs = elephant_among_mice(20, num_calls=30)
    assert max(lateness(jobs, policy_named("justitia")).values()) <= bound(jobs)
    assert max(lateness(jobs, policy_named("fcfs")).values()) > 4 * bound(jobs)


def test_an_elephant_among_ever_more_mice() -> None:
    """Shortest-first lets the elephant wait as long as mice come. In order of F it waits for none of those that come
    after GPS would have served it."""
    worlds = [elephant_among_mice(k, num_calls=2) for k in (200, 400, 800)]
    ours, shortest_first = (
        [lateness(jobs, policy_named(policy))[name_of(0)] for jobs in worlds] for policy in ("justitia", "srjf")
    )
    assert max(ours) <= bound(worlds[0])
    assert shortest_first[0] > 2 * bound(worlds[0])
    assert shortest_first[2] > 2 * shortest_first[1] > 4 * shortest_first[0]


# --- every policy, and one without restraint --------------------------------------------------------------------------


class NewestFirst(Policy):
    """The policy without restraint: whoever comes last goes first."""

    def rank(self, application: ApplicationView, call: CallView) -> float:
        return 1e9 - application.arrived_at


def stream(first: Job, later: Sequence[Lengths], count: int) -> list[Job]:
    """One application, then `count` others, each as soon as the one before could have been served."""
    every = float(application_cost(later))
    return [first, *(Job(1.0 + every * number, tuple(later)) for number in range(count))]


def lengths(*pairs: tuple[int, int]) -> tuple[Lengths, ...]:
    return tuple((Tokens(prompt), Tokens(output)) for prompt, output in pairs)


MOUSE = lengths((10, 4))
ADVERSARIES = {
    "an elephant before mice": stream(Job(0.0, lengths((20, 10)) * 60), MOUSE, 60),
    "an elephant among mice": stream(Job(0.0, lengths((20, 10)) * 3), MOUSE, 400),
}


def worst_against(make: Callable[[], Policy]) -> float:
    """The largest lateness that any adversary brings about, in units of its bound."""
    return max(max(lateness(jobs, make()).values()) / bound(jobs) for jobs in ADVERSARIES.values())


def test_against_every_adversary_justitia_keeps_the_bound() -> None:
    assert worst_against(lambda: policy_named("justitia")) <= 1


@pytest.mark.parametrize("name", [name for name in POLICY_NAMES if name != "justitia"])
def test_every_baseline_meets_an_adversary_that_breaks_it(name: PolicyName) -> None:
    assert worst_against(lambda: policy_named(name)) > 2


def test_a_policy_without_restraint_fails() -> None:
    assert worst_against(NewestFirst) > 2
