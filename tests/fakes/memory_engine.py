"""An engine with one KV memory, in iterations: what the delay bounds of docs/algorithm.md are about.

The server has MEMORY tokens. Each iteration every running call writes one token; a call with a prompt of p and d output
tokens runs for d iterations and holds p + i in the i-th. The call that is first in order is admitted when its whole
length fits, and blocks those behind it when it does not.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from hypothesis import strategies as st

from gateway.fairness import ApplicationId, KvTokenTime
from gateway.fairness.cost import application_cost
from gateway.fairness.units import Tokens

MEMORY = 40

Lengths = tuple[Tokens, Tokens]
"""(prompt, output) tokens of one call."""

LENGTHS = st.tuples(st.integers(1, 25).map(Tokens), st.integers(1, 12).map(Tokens))


@dataclass(frozen=True)
class Job:
    """An application, all of whose calls are there when it arrives. `at`: service delivered before that."""

    at: float
    calls: tuple[Lengths, ...]

    @property
    def cost(self) -> KvTokenTime:
        return application_cost(self.calls)


@dataclass
class Running:
    application_id: ApplicationId
    lengths: Lengths
    iteration: int = 0

    @property
    def left(self) -> int:
        """token·iterations"""
        return sum(self.lengths[0] + later for later in range(self.iteration + 1, self.lengths[1] + 1))


J = TypeVar("J", bound=Job)


class MemoryEngine(ABC, Generic[J]):
    """Who is first, and what follows from what was served, a subclass says."""

    def __init__(self, jobs: Sequence[J]) -> None:
        self.jobs = jobs
        self.delivered = 0.0
        self.waiting: dict[ApplicationId, list[Lengths]] = {}
        self.running: list[Running] = []
        self.finished: dict[ApplicationId, float] = {}
        """Service delivered when each application's last call ended."""

    @abstractmethod
    def arrive(self, name: ApplicationId, job: J) -> None:
        """It has come; its calls wait already."""

    @abstractmethod
    def first(self) -> tuple[ApplicationId, int]:
        """Whose call is first of those that wait, and which of its waiting ones."""

    @abstractmethod
    def served(self, service: Mapping[ApplicationId, int], ended: Sequence[Running]) -> None:
        """What one iteration brought, which `delivered` and `running` say already; and the calls that ended with it."""

    def run(self) -> None:
        coming = sorted(((job.at, name_of(number), job) for number, job in enumerate(self.jobs)), reverse=True)
        while coming or self.waiting or self.running:
            if not self.waiting and not self.running:
                self.delivered = max(self.delivered, coming[-1][0])
            while coming and coming[-1][0] <= self.delivered:
                _, name, job = coming.pop()
                self.waiting[name] = list(job.calls)
                self.arrive(name, job)
            self._admit()
            self._iterate()

    def is_finished(self, name: ApplicationId) -> bool:
        return name not in self.waiting and all(one.application_id != name for one in self.running)

    def _admit(self) -> None:
        while self.waiting:
            name, which = self.first()
            if sum(self.waiting[name][which]) + sum(sum(one.lengths) for one in self.running) > MEMORY:
                return
            self.running.append(Running(name, self.waiting[name].pop(which)))
            if not self.waiting[name]:
                del self.waiting[name]

    def _iterate(self) -> None:
        service: dict[ApplicationId, int] = {}
        for one in self.running:
            one.iteration += 1
            held = one.lengths[0] + one.iteration
            service[one.application_id] = service.get(one.application_id, 0) + held
        ended = [one for one in self.running if one.iteration == one.lengths[1]]
        self.running = [one for one in self.running if one.iteration < one.lengths[1]]
        self.delivered += sum(service.values())
        self.served(service, ended)
        for name in {one.application_id for one in ended}:
            if self.is_finished(name):
                self.finished[name] = self.delivered


def name_of(number: int) -> ApplicationId:
    return ApplicationId(f"app-{number:03}")


def bound(jobs: Sequence[Job]) -> float:
    """2·M·D: token·iterations."""
    return 2.0 * MEMORY * max(output for job in jobs for _, output in job.calls)
