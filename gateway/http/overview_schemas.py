"""What `GET /v1/overview` answers. Costs and service in token·iterations, times of the clock in the same per unit of
weight; an id is the name its client uses, without the tenant. `null` where it is not known."""

from typing import Literal

from pydantic import BaseModel, Field

from gateway.scheduling.model import Hold


class OverviewRow(BaseModel):
    position: int = Field(description="In order of virtual finish time, among everybody's; 1 is next.")
    tenant: str
    id: str
    kind: str
    weight: int = Field(description="Thousandths.")
    predicted_cost: float
    service: float
    virtual_start: float
    virtual_finish_time: float
    calls_waiting: int = Field(description="In the gateway process asked, like all counts of calls.")
    calls_running: int = Field(description="Given to an engine, and not ended.")
    calls_waiting_inside: int = Field(description="Of these, known to wait inside their engine.")
    calls_ended: int
    hold: Hold = Field(description="What holds the first of its waiting calls; see `gateway.scheduling.overview`.")
    engines: dict[str, int] = Field(description="Its calls by engine.")
    expected_wait_s: float | None = Field(description="Until that call is sent to an engine, at the recent pace.")
    expected_finish_s: float | None = Field(description="From now, at the recent pace.")


class PartOfEngine(BaseModel):
    tenant: str
    id: str
    calls: int
    waiting: int = Field(description="Of these, known to wait inside the engine.")


class EngineOverview(BaseModel):
    name: str
    mode: str = Field(description="`patched`, `priority`, `unordered` or `down`.")
    models: list[str]
    kv_capacity_tokens: int | None
    kv_used_tokens: int | None = Field(description="Held by calls; what is kept as prefix cache only is free.")
    max_running_calls: int | None
    num_running: int | None = Field(description="Everybody's, as the engine says.")
    num_waiting: int | None
    preemptions: int | None = Field(description="Since its start.")
    service_rate: float = Field(description="token·iterations a second, recently.")
    runs: list[PartOfEngine] = Field(description="Applications you may see, those with most calls first.")
    other_calls: int = Field(description="Of this gateway, in this engine, and of no application named here.")


class ApplicationAhead(BaseModel):
    position: int
    tenant: str
    id: str
    remaining_cost: float
    calls_waiting: int
    calls_running: int


class TenantLimits(BaseModel):
    max_running_calls: int | None = Field(description="null: no cap.")
    running_calls: int = Field(description="Of the tenant, at all gateways, where there is a cap; else 0.")
    quota_wait_s: float = Field(description="So long its next call is refused; 0: it is not.")


class ChosenApplication(BaseModel):
    """Why it waits."""

    application: OverviewRow
    calls_ahead: int | None = Field(description="Waiting calls of its model before the first of its own.")
    ahead: list[ApplicationAhead] = Field(description="Those you may see, the nearest 20.")
    num_ahead: int = Field(description="All that are before it.")
    num_ahead_of_others: int = Field(description="Of these, applications of other tenants.")
    work_ahead: float = Field(description="What all of them are still predicted to cost.")
    limits: TenantLimits


class OverviewAnswer(BaseModel):
    """The gateway at one look."""

    version: str
    policy: str
    workers: int = Field(description="Processes that serve; calls are counted in the one that answers.")
    tenant: str | None = Field(description="Whose applications are named; null: everybody's.")
    seen_by: Literal["operator", "this_machine", "key"] = Field(description="What the asker is known by.")
    virtual_time: float
    service_rate: float = Field(description="Of all engines, token·iterations a second.")
    store: Literal["up", "down"]
    store_kind: Literal["memory", "redis"]
    calls_waiting: int = Field(description="Everybody's.")
    calls_running: int
    num_applications: int = Field(description="Everybody's that are open.")
    num_own: int = Field(description="That you may see.")
    num_matching: int = Field(description="Of these, that are as was asked; the first of them are listed.")
    num_backlogged: int = Field(description="Everybody's that the fluid server has not finished; closed ones too.")
    is_cut: bool = Field(description="There are more applications than `JUSTITIA_APPLICATIONS__MAX_LISTED`.")
    engines: list[EngineOverview]
    applications: list[OverviewRow]
    chosen: ChosenApplication | None = Field(description="null also for one that you may not see.")
