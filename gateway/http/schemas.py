"""What the routes about applications take and answer. An id is the name its client uses, without the tenant."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from gateway.fairness.units import ApplicationId
from gateway.ports import ApplicationRecord
from gateway.scheduling.model import ApplicationDescription

MAX_WEIGHT = 1_000_000
"""A thousand ordinary applications in one."""

MAX_COST = 1e15
"""A million tokens held for a billion iterations; beyond it sums lose whole tokens."""


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None = Field(description="The field at fault, if it is one.")
    code: str = Field(description="For programs; messages may change.")


class ErrorAnswer(BaseModel):
    """What every refusal looks like."""

    error: ErrorDetail


REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorAnswer, "description": "Refused"},
    503: {"model": ErrorAnswer, "description": "Not now"},
}
"""Of any route; 422, which the framework would tell of, is never sent."""


class Declaration(BaseModel):
    """An application announced before its first call. Everything may be left out."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = Field(default=None, min_length=1, max_length=4096, description="Made up if left out.")
    kind: str | None = Field(default=None, max_length=4096, description="What predictions are grouped by.")
    weight: int | None = Field(default=None, ge=1, le=MAX_WEIGHT, strict=True, description="Share, in thousandths.")
    expected_cost: float | None = Field(
        default=None,
        gt=0,
        le=MAX_COST,
        allow_inf_nan=False,
        description="KV token-time of the whole, in token·iterations.",
    )
    parent: str | None = Field(
        default=None, min_length=1, max_length=4096, description="The application it is a part of."
    )


class Account(BaseModel):
    """Costs and service in token·iterations, times of the clock in the same per unit of weight."""

    id: str
    tenant: str
    kind: str
    parent: str | None
    weight: int
    predicted_cost: float
    service: float
    virtual_finish_time: float


class Application(Account):
    """One application and why it waits."""

    virtual_start: float
    virtual_time: float
    position: int = Field(description="In order of virtual finish time, among everybody's; 1 is next.")
    ahead: list[str] = Field(description="Your own applications before it, of the nearest 20.")
    num_ahead: int = Field(description="All that are before it, others' too.")
    calls_waiting: int
    calls_running: int
    expected_wait_s: float | None = Field(
        description="Until its next waiting call is dispatched, at the recent pace; null without either."
    )
    expected_finish_s: float | None = Field(description="From now, at the recent pace; null before there is one.")
    calls_ended: int = Field(description="After they were dispatched; this and what follows in the gateway asked.")
    prompt_tokens: int
    completion_tokens: int


class ApplicationList(BaseModel):
    virtual_time: float | None = Field(description="null while nothing is known of.")
    data: list[Application]


class ClosedApplication(Account):
    """Closed; settled as soon as its last call has ended."""

    status: str = "closed"


def name_of(application_id: ApplicationId) -> str:
    """The client's name of it; ids are `{tenant}/{name}`, see `gateway.identity`."""
    return application_id.partition("/")[2]


def show(application: ApplicationDescription) -> Application:
    own = application.tenant + "/"
    return Application(
        **_account(application),
        virtual_start=application.virtual_start,
        virtual_time=application.virtual_time,
        position=application.position,
        ahead=[name_of(other) for other in application.ahead if other.startswith(own)],
        num_ahead=application.position - 1,
        calls_waiting=application.calls_waiting,
        calls_running=application.calls_running,
        expected_wait_s=application.expected_wait_s,
        expected_finish_s=application.expected_finish_s,
        calls_ended=application.num_calls,
        prompt_tokens=application.prompt_tokens,
        completion_tokens=application.completion_tokens,
    )


def show_closed(application: ApplicationRecord) -> ClosedApplication:
    return ClosedApplication(**_account(application))


def _account(application: ApplicationDescription | ApplicationRecord) -> dict[str, Any]:
    return {
        "id": name_of(application.application_id),
        "tenant": application.tenant,
        "kind": application.kind,
        "parent": None if application.parent is None else name_of(application.parent),
        "weight": application.weight,
        "predicted_cost": application.predicted_cost,
        "service": application.service,
        "virtual_finish_time": application.virtual_finish_time,
    }
