"""The delay bound for an engine: many calls side by side in one KV memory (docs/algorithm.md derives it).

The server has M tokens of memory. Each iteration every running call writes one token; a call with a prompt of p and d
output tokens runs for d iterations and holds p + i in the i-th. Calls are admitted in order of (F, application id,
order) when their whole length fits, and the first that does not fit blocks those behind it. All calls of an application
are there when it arrives, and its cost is known. Then it is later than in GPS by at most 2·M·D tokens·iterations of
service, where D is the largest number of iterations that one call runs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

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

MEMORY = 40

Lengths = tuple[Tokens, Tokens]
"""(prompt, output) tokens of one call."""


@dataclass(frozen=True)
class Job:
    """`at`: service delivered before it arrives."""

    at: float
    calls: tuple[Lengths, ...]
    weight: Weight = UNIT_WEIGHT

    @property
    def cost(self) -> KvTokenTime:
        return application_cost(self.calls)


@dataclass
class Running:
    application_id: ApplicationId
    lengths: Lengths
    iteration: int = 0


@dataclass
class Engine:
    jobs: list[Job]
    policy: Policy
    clock: VirtualClock = field(default_factory=VirtualClock)
    delivered: float = 0.0
    views: dict[ApplicationId, ApplicationView] = field(default_factory=dict)
    waiting: list[tuple[ApplicationId, int, CallView, Lengths]] = field(default_factory=list)
    running: list[Running] = field(default_factory=list)
    finished: dict[ApplicationId, float] = field(default_factory=dict)
    open_calls: dict[ApplicationId, int] = field(default_factory=dict)

    def run(self) -> dict[ApplicationId, float]:
        """Service delivered when each application's last call ends."""
        coming = sorted(((job.at, name_of(number), job) for number, job in enumerate(self.jobs)), reverse=True)
        while coming or self.waiting or self.running:
            if not self.waiting and not self.running:
                self.delivered = max(self.delivered, coming[-1][0])
            while coming and coming[-1][0] <= self.delivered:
                self.arrive(*coming.pop()[1:])
            self.admit()
            self.iterate()
        return self.finished

    def arrive(self, name: ApplicationId, job: Job) -> None:
        finish = self.clock.arrive(name, job.cost, job.weight)
        self.views[name] = ApplicationView(name, self.delivered, job.weight, finish, job.cost, KvTokenTime(0.0))
        self.policy.joined(name, job.weight)
        self.open_calls[name] = len(job.calls)
        self.waiting += [
            (name, order, CallView(self.delivered, call_cost(*lengths)), lengths)
            for order, lengths in enumerate(job.calls)
        ]

    def admit(self) -> None:
        self.waiting.sort(key=lambda call: (self.policy.rank(self.views[call[0]], call[2]), call[0], call[1]))
        while self.waiting:
            name, _, _, lengths = self.waiting[0]
            if sum(lengths) + sum(sum(one.lengths) for one in self.running) > MEMORY:
                return
            self.running.append(Running(name, lengths))
            del self.waiting[0]

    def iterate(self) -> None:
        service = 0
        for one in self.running:
            one.iteration += 1
            held = one.lengths[0] + one.iteration
            service += held
            self.views[one.application_id].service = KvTokenTime(self.views[one.application_id].service + held)
        self.delivered += service
        self.clock.serve(KvTokenTime(service))
        for one in self.running:
            if one.iteration == one.lengths[1]:
                self.policy.charged(one.application_id, *one.lengths)
                self.finished[one.application_id] = self.delivered
                self.open_calls[one.application_id] -= 1
                if not self.open_calls[one.application_id]:
                    self.policy.left(one.application_id)
        self.running = [one for one in self.running if one.iteration < one.lengths[1]]


def name_of(number: int) -> ApplicationId:
    return ApplicationId(f"app-{number:02}")


def lateness(jobs: list[Job], policy: Policy) -> dict[ApplicationId, float]:
    real = Engine(jobs, policy)
    finished = real.run()
    arrivals = [
        FluidArrival(name_of(n), real.views[name_of(n)].arrived_at, job.cost, job.weight) for n, job in enumerate(jobs)
    ]
    fluid = fluid_gps(arrivals)
    return {name: end - float(fluid[name].at) for name, end in finished.items()}


def bound(jobs: list[Job]) -> float:
    return 2.0 * MEMORY * max(output for job in jobs for _, output in job.calls)


LENGTHS = st.tuples(st.integers(1, 25).map(Tokens), st.integers(1, 12).map(Tokens))
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
