"""One application as this gateway knows it, beside what the shared store has of it."""

import asyncio
from dataclasses import dataclass, field

from gateway.fairness.units import UNIT_WEIGHT, KvTokenTime, VirtualTime, Weight
from gateway.ports import ApplicationRecord, Arrival
from gateway.scheduling.course import Course
from gateway.scheduling.model import Usage


@dataclass(slots=True)
class LocalApplication:
    record: ApplicationRecord
    course: Course
    asked_at: float
    first_arrival_at: float
    last_end_at: float
    tenant_weight: Weight = UNIT_WEIGHT
    num_calls: int = 0
    """Waiting, running, or ended with the engine's account still to come."""
    unsent_service: float = 0.0
    """Charged here, not yet in the store."""
    is_closing: bool = False
    is_settling: bool = False
    is_provisional: bool = False
    """Its place was not given by the store."""
    num_ended: int = 0
    """Of its calls that were dispatched."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    ranked: tuple[ApplicationRecord, KvTokenTime] | None = None
    """What the scheduler was last told of it: its place, and its service."""
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    telling: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the store is told what it was charged."""

    def count(self, usage: Usage | None) -> None:
        """One of its calls has ended, dispatched."""
        self.num_ended += 1
        if usage is not None:
            self.prompt_tokens += usage.prompt_tokens
            self.completion_tokens += usage.completion_tokens

    @property
    def service(self) -> KvTokenTime:
        return KvTokenTime(self.record.service + self.unsent_service)


def provisional_record(
    arrival: Arrival, default_cost: KvTokenTime, virtual_time: VirtualTime, now: float
) -> ApplicationRecord:
    """A place from the last clock seen here, while the store cannot give one."""
    cost = arrival.cost or default_cost
    return ApplicationRecord(
        application_id=arrival.application_id,
        tenant=arrival.tenant,
        kind=arrival.kind,
        parent=arrival.parent,
        weight=arrival.weight,
        predicted_cost=cost,
        service=KvTokenTime(0.0),
        virtual_start=virtual_time,
        virtual_finish_time=VirtualTime(virtual_time + cost * UNIT_WEIGHT / arrival.weight),
        arrived_at=now,
        last_seen_at=now,
    )
