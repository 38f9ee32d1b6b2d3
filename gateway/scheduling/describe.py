"""Why does an application wait? Its place among the others, from one reading of the shared state. Pure."""

from collections.abc import Callable

from gateway.fairness.cost import remaining_cost
from gateway.fairness.units import ApplicationId, KvTokenTime, Tokens
from gateway.ports import ApplicationRecord, Snapshot
from gateway.scheduling.model import ApplicationDescription
from gateway.values import value

_MAX_AHEAD = 20


@value
class Here:
    """What this gateway alone knows of an application."""

    unsent_service: KvTokenTime
    """Charged and not yet in the shared state."""
    calls_waiting: int
    calls_running: int
    expected_wait_s: float | None
    num_calls: int
    prompt_tokens: Tokens
    completion_tokens: Tokens


def describe_all(
    snapshot: Snapshot,
    here: Callable[[ApplicationId], Here],
    service_rate: float,
) -> tuple[ApplicationDescription, ...]:
    """All open applications in order of virtual finish time; `service_rate` in token·iterations a second."""
    descriptions: list[ApplicationDescription] = []
    ids = [record.application_id for record in snapshot.applications]
    work_until = 0.0
    for index, record in enumerate(snapshot.applications):
        known = here(record.application_id)
        service = KvTokenTime(record.service + known.unsent_service)
        work_until += remaining_cost(record.predicted_cost, service)
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
                calls_waiting=known.calls_waiting,
                calls_running=known.calls_running,
                expected_finish_s=work_until / service_rate if service_rate > 0 else None,
                expected_wait_s=known.expected_wait_s,
                num_calls=known.num_calls,
                prompt_tokens=known.prompt_tokens,
                completion_tokens=known.completion_tokens,
            )
        )
    return tuple(descriptions)


def lag(record: ApplicationRecord) -> float:
    """GPS service minus real service (token·iterations); what runs now counts when it has ended."""
    return record.due - record.service
