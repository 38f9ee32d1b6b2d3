"""What `/console` and `justitia top` show: the gateway at one look, cut to what the asker may see.

Who sees what: the operator (`server.operator_token`) everything; on an open gateway, which anybody on this machine
could use in anybody's name, so does who asks from this machine; a tenant's key its own applications, and numbers.
"""

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request, Response

from gateway.fairness.cost import remaining_cost
from gateway.fairness.units import ApplicationId
from gateway.http.overview_schemas import (
    ApplicationAhead,
    ChosenApplication,
    EngineOverview,
    OverviewAnswer,
    OverviewRow,
    PartOfEngine,
    TenantLimits,
)
from gateway.http.schemas import REFUSALS, name_of
from gateway.identity import Keys, carried_key
from gateway.scheduling.model import ApplicationDescription
from gateway.scheduling.overview import (
    Chosen,
    EngineSight,
    OnEngine,
    Overview,
    Row,
    TenantSight,
    View,
    Wanted,
    kv_used,
    seen_by,
)
from gateway.scheduling.overview_desk import OverviewDesk
from gateway.settings import Settings

MAX_ROWS = 500
_ROWS = 100

_MAX_KEPT_ANSWERS = 64
"""Of one reading: so many who ask differently are answered from memory."""

_MAX_MODELS = 20

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""Somebody else's request that came by this machine."""


@dataclass(frozen=True, slots=True)
class Viewer:
    tenant: str | None
    """None sees everything."""
    by: Literal["operator", "this_machine", "key"]


class Viewers:
    """Tells who asks."""

    def __init__(self, keys: Keys, operator_token: str | None) -> None:
        self._keys = keys
        self._operator = None if operator_token is None else _digest(operator_token)

    def of(self, request: Request) -> Viewer:
        """Raises what `Keys.tenant_of` raises."""
        key = carried_key(request.headers.raw)
        if key is not None and self._operator is not None and hmac.compare_digest(_digest(key), self._operator):
            return Viewer(None, "operator")
        if self._keys.is_open and _is_from_here(request):
            return Viewer(None, "this_machine")
        return Viewer(self._keys.tenant_of(key), "key")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _is_from_here(request: Request) -> bool:
    """Over loopback, not by a proxy, and to an address of this machine: a page of somebody else's, whose name was made
    to lead here, says that name in `Host`."""
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return False
    return _is_loopback(request.client.host) and (host == "localhost" or _is_loopback(host))


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


class Answers:
    """Made once for all who see the same of one reading."""

    def __init__(self, desk: OverviewDesk, settings: Settings, version: str) -> None:
        self._desk = desk
        self._settings = settings
        self._version = version
        self._of: Overview | None = None
        self._kept: dict[tuple[Viewer, Wanted], bytes] = {}

    async def answer(self, viewer: Viewer, wanted: Wanted) -> bytes:
        overview = await self._desk.overview()
        if overview is not self._of:
            self._of = overview
            self._kept.clear()
        answer = self._kept.get((viewer, wanted))
        if answer is None:
            made = self._make(overview, seen_by(overview, viewer.tenant, wanted), viewer)
            answer = made.model_dump_json().encode()
            if len(self._kept) < _MAX_KEPT_ANSWERS:
                self._kept[viewer, wanted] = answer
        return answer

    def _make(self, overview: Overview, view: View, viewer: Viewer) -> OverviewAnswer:
        reading, settings = overview.reading, self._settings
        return OverviewAnswer(
            version=self._version,
            policy=settings.scheduling.policy,
            workers=settings.server.workers,
            tenant=viewer.tenant,
            seen_by=viewer.by,
            virtual_time=reading.virtual_time,
            service_rate=reading.service_rate,
            store="up" if reading.store_is_up else "down",
            store_kind="memory" if settings.store.redis_url is None else "redis",
            calls_waiting=reading.calls_waiting,
            calls_running=reading.calls_running,
            num_applications=view.num_all,
            num_own=view.num_own,
            num_matching=view.num_matching,
            num_backlogged=reading.num_backlogged,
            is_cut=reading.is_cut,
            engines=[_engine(sight, on) for sight, on in zip(reading.engines, view.engines, strict=True)],
            applications=[_row(row) for row in view.rows],
            chosen=None if view.chosen is None else _chosen(view.chosen),
        )


def overview_router(desk: OverviewDesk, keys: Keys, settings: Settings, version: str) -> APIRouter:
    router = APIRouter(prefix="/v1/overview", tags=["operations"], responses=REFUSALS)
    viewers = Viewers(keys, settings.server.operator_token)
    answers = Answers(desk, settings, version)

    @router.get("", response_model=OverviewAnswer)
    async def read_overview(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=MAX_ROWS, description="Applications at most.")] = _ROWS,
        text: Annotated[
            str, Query(max_length=200, description="Only those with this in tenant, id, kind or hold.")
        ] = "",
        with_calls: Annotated[bool, Query(description="Only those with calls here.")] = False,
        application: Annotated[
            str | None, Query(max_length=256, description="The one to tell more of: `tenant/id`.")
        ] = None,
    ) -> Response:
        """Who is served in which order, who waits and why, and how full the engines are; at most a second old."""
        viewer = viewers.of(request)
        chosen = None if application is None else ApplicationId(application)
        content = await answers.answer(viewer, Wanted(limit, text.strip(), with_calls, chosen))
        return Response(content, media_type="application/json", headers={"cache-control": "no-store"})

    return router


def _engine(sight: EngineSight, on: OnEngine) -> EngineOverview:
    state, mode = sight.state, sight.mode
    return EngineOverview(
        name=sight.name,
        mode="down" if mode is None else mode.name,
        models=[] if mode is None else list(mode.models[:_MAX_MODELS]),
        kv_capacity_tokens=None if state is None else state.capacity_kv_tokens,
        kv_used_tokens=None if state is None else kv_used(state),
        max_running_calls=None if state is None else state.max_num_seqs,
        num_running=None if state is None else state.num_running,
        num_waiting=None if state is None else state.num_waiting,
        preemptions=None if state is None else state.preemptions,
        service_rate=sight.service_rate,
        runs=[
            PartOfEngine(
                tenant=application_id.partition("/")[0],
                id=name_of(application_id),
                calls=calls.num_calls,
                waiting=calls.num_waiting,
            )
            for application_id, calls in on.named
        ],
        other_calls=on.num_other_calls,
    )


def _row(row: Row) -> OverviewRow:
    one = row.application
    return OverviewRow(
        position=one.position,
        tenant=one.tenant,
        id=name_of(one.application_id),
        kind=one.kind,
        weight=one.weight,
        predicted_cost=one.predicted_cost,
        service=one.service,
        virtual_start=one.virtual_start,
        virtual_finish_time=one.virtual_finish_time,
        calls_waiting=one.calls_waiting,
        calls_running=one.calls_running,
        calls_waiting_inside=sum(calls.num_waiting for _, calls in row.on),
        calls_ended=one.num_calls,
        hold=row.hold,
        engines={name: calls.num_calls for name, calls in row.on},
        expected_wait_s=one.expected_wait_s,
        expected_finish_s=one.expected_finish_s,
    )


def _chosen(chosen: Chosen) -> ChosenApplication:
    ahead = chosen.ahead
    return ChosenApplication(
        application=_row(chosen.row),
        calls_ahead=chosen.calls_ahead,
        ahead=[_ahead(application) for application in ahead.nearest],
        num_ahead=ahead.num_all,
        num_ahead_of_others=ahead.num_others,
        work_ahead=ahead.work,
        limits=_limits(chosen.tenant),
    )


def _ahead(application: ApplicationDescription) -> ApplicationAhead:
    return ApplicationAhead(
        position=application.position,
        tenant=application.tenant,
        id=name_of(application.application_id),
        remaining_cost=remaining_cost(application.predicted_cost, application.service),
        calls_waiting=application.calls_waiting,
        calls_running=application.calls_running,
    )


def _limits(tenant: TenantSight) -> TenantLimits:
    return TenantLimits(
        max_running_calls=tenant.max_running_calls,
        running_calls=tenant.running_calls,
        quota_wait_s=tenant.quota_wait_s,
    )
