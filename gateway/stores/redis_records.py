"""Answers of the state's scripts, as text, read into records."""

from collections.abc import Iterator, Sequence
from typing import Any

from gateway.fairness.shares import due
from gateway.fairness.units import ApplicationId, KvTokenTime, VirtualTime, Weight
from gateway.ports import ApplicationRecord, Standing


def standings_of(ids: Sequence[ApplicationId], answer: Sequence[Any]) -> Iterator[Standing]:
    """Of those that the script answers by their index."""
    virtual_time, *known = answer
    return (standing_of(ids[index], virtual_time, fields) for index, fields in known)


def standing_of(application_id: ApplicationId, virtual_time: str, fields: Sequence[Any]) -> Standing:
    """From the fields in the order in which `standing` in applications.lua answers them: what is due comes last, where
    tenants have the shares; else it follows from the others."""
    tenant, kind, parent, weight, predicted_cost, service, start, finish, arrived_at, last_seen_at, *told = fields
    read_at, of_weight = VirtualTime(float(virtual_time)), Weight(int(weight))
    starts, finishes = VirtualTime(float(start)), VirtualTime(float(finish))
    return Standing(
        read_at,
        ApplicationRecord(
            application_id=application_id,
            tenant=tenant,
            kind=kind,
            parent=parent,
            weight=of_weight,
            predicted_cost=KvTokenTime(float(predicted_cost)),
            service=KvTokenTime(float(service)),
            virtual_start=starts,
            virtual_finish_time=finishes,
            arrived_at=float(arrived_at),
            last_seen_at=float(last_seen_at),
            due=KvTokenTime(float(told[0])) if told else due(read_at, starts, finishes, of_weight),
        ),
    )


def first_of(listed: Sequence[str], limit: int) -> tuple[ApplicationId, ...]:
    """The first ids in order of (finish time, id), from ids and finish times by turns."""
    in_order = sorted(zip(map(float, listed[1::2]), listed[::2], strict=True))
    return tuple(ApplicationId(id_) for _, id_ in in_order[:limit])
