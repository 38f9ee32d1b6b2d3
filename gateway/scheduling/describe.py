"""Why does an application wait? Its place among the others, from one reading of the shared state. Pure."""

from collections.abc import Callable

from gateway.fairness.cost import remaining_cost
from gateway.fairness.units import ApplicationId, KvTokenTime
from gateway.ports import Snapshot
from gateway.scheduling.model import ApplicationDescription

_MAX_AHEAD = 20


def describe_all(
    snapshot: Snapshot,
    unsent_service: Callable[[ApplicationId], KvTokenTime],
    counts: Callable[[ApplicationId], tuple[int, int]],
    service_rate: float,
) -> tuple[ApplicationDescription, ...]:
    """All open applications in order of virtual finish time. `unsent_service` is what this gateway has charged and not
    yet sent; `counts` its (waiting, running) calls; `service_rate` in token·iterations a second."""
    descriptions: list[ApplicationDescription] = []
    ids = [record.application_id for record in snapshot.applications]
    work_until = 0.0
    for index, record in enumerate(snapshot.applications):
        service = KvTokenTime(record.service + unsent_service(record.application_id))
        work_until += remaining_cost(record.predicted_cost, service)
        waiting, running = counts(record.application_id)
        descriptions.append(
            ApplicationDescription(
                application_id=record.application_id,
                tenant=record.tenant,
                kind=record.kind,
                parent=record.parent,
                weight=record.weight,
                predicted_cost=record.predicted_cost,
                service=service,
                virtual_start=record.virtual_start,
                virtual_finish_time=record.virtual_finish_time,
                virtual_time=snapshot.virtual_time,
                position=index + 1,
                ahead=tuple(ids[max(0, index - _MAX_AHEAD) : index]),
                calls_waiting=waiting,
                calls_running=running,
                expected_finish_s=work_until / service_rate if service_rate > 0 else None,
            )
        )
    return tuple(descriptions)
