"""What a tenant has used, and what it may use: its own only."""

from collections.abc import Mapping
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from gateway.http.schemas import REFUSALS
from gateway.identity import Keys, carried_key
from gateway.scheduling.dispatcher import Dispatcher
from gateway.scheduling.tenant_usage import ApplicationUsage, UsageTotals


class Totals(BaseModel):
    calls: dict[str, int] = Field(description="By how they ended.")
    prompt_tokens: int
    completion_tokens: int
    kv_token_time: float = Field(description="token·iterations, of settled calls.")


class Limits(BaseModel):
    """null: no limit of its own."""

    weight: int = Field(
        description="In thousandths: of each application, or of the tenant where tenants have the shares."
    )
    max_running_calls: int | None
    max_waiting_calls: int | None
    tokens_per_minute: int | None
    kv_token_time_per_hour: float | None


class OfApplication(BaseModel):
    calls: int = Field(description="Settled.")
    kv_token_time: float = Field(description="token·iterations.")


class Usage(BaseModel):
    """With Redis, through all gateways, as they have told within the last second or so."""

    tenant: str
    counted_in: Literal["all gateways", "this gateway"] = Field(
        description="`this gateway`: without Redis, or while it cannot be reached; since its start."
    )
    since: float = Field(description="Unix seconds: the first call that is counted.")
    total: Totals
    today: Totals = Field(description="UTC.")
    this_hour: Totals
    applications: dict[str, OfApplication] = Field(
        description="Of the last day, the 100 last used; by name, who has used most first."
    )
    limits: Limits


def tenants_router(dispatcher: Dispatcher, keys: Keys) -> APIRouter:
    router = APIRouter(prefix="/v1/usage", tags=["tenants"], responses=REFUSALS)

    def tenant_of(request: Request) -> str:
        return keys.tenant_of(carried_key(request.headers.raw))

    @router.get("")
    async def read_usage(tenant: Annotated[str, Depends(tenant_of)]) -> Usage:
        """What your key's tenant has used, and its limits."""
        used, terms = await dispatcher.usage_over_all(tenant), keys.terms_of(tenant)
        return Usage(
            tenant=tenant,
            counted_in="all gateways" if used.is_of_all_gateways else "this gateway",
            since=used.since,
            total=_totals(used.total),
            today=_totals(used.today),
            this_hour=_totals(used.this_hour),
            applications=_by_use(used.applications),
            limits=Limits(
                weight=terms.weight,
                max_running_calls=terms.max_running_calls,
                max_waiting_calls=terms.max_waiting_calls,
                tokens_per_minute=terms.tokens_per_minute,
                kv_token_time_per_hour=terms.kv_token_time_per_hour,
            ),
        )

    return router


def _by_use(applications: Mapping[str, ApplicationUsage]) -> dict[str, OfApplication]:
    by_use = sorted(applications.items(), key=lambda one: -one[1].kv_token_time)
    return {name: OfApplication(calls=used.calls, kv_token_time=used.kv_token_time) for name, used in by_use}


def _totals(totals: UsageTotals) -> Totals:
    return Totals(
        calls={str(outcome): count for outcome, count in totals.calls.items()},
        prompt_tokens=totals.prompt_tokens,
        completion_tokens=totals.completion_tokens,
        kv_token_time=totals.kv_token_time,
    )
