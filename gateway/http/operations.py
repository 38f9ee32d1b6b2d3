"""Routes for those who run the gateway: is it alive, can it serve, what does it count."""

import asyncio
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Response
from pydantic import BaseModel

from gateway.http.schemas import REFUSALS
from gateway.metrics import Metrics
from gateway.scheduling.dispatcher import Dispatcher

_METRICS_CONTENT = {kind: {"schema": {"type": "string"}} for kind in ("text/plain", "application/openmetrics-text")}


class Health(BaseModel):
    status: Literal["ok"] = "ok"
    version: str


class ReadinessReport(BaseModel):
    status: Literal["ready", "not_ready"]
    missing: list[str]
    """What keeps it from serving, in words."""
    store: Literal["up", "down"]
    engines: dict[str, str]
    """Mode by name, or `down`."""


def operations_router(dispatcher: Dispatcher, metrics: Metrics) -> APIRouter:
    router = APIRouter(tags=["operations"], responses={"4XX": REFUSALS["4XX"]})
    own_version = gateway_version()
    scrape = asyncio.Lock()  # however many ask, one is answered at a time

    @router.get("/healthz")
    async def healthz() -> Health:
        """Alive: always 200, whatever else is down."""
        return Health(version=own_version)

    @router.get("/readyz", responses={503: {"model": ReadinessReport}})
    async def readyz(response: Response) -> ReadinessReport:
        """Able to serve: an engine answers and the store answers."""
        readiness = await dispatcher.readiness()
        missing = [] if readiness.store_is_up else ["the state store does not answer"]
        if not readiness.engines:
            missing.append("no engine is configured")
        elif all(mode == "down" for mode in readiness.engines.values()):
            missing.append("no engine answers")
        response.status_code = 200 if readiness.is_ready else 503
        return ReadinessReport(
            status="ready" if readiness.is_ready else "not_ready",
            missing=missing,
            store="up" if readiness.store_is_up else "down",
            engines=readiness.engines,
        )

    @router.get("/metrics", response_class=Response, responses={200: {"content": _METRICS_CONTENT}})
    async def prometheus(accept: Annotated[str, Header(include_in_schema=False)] = "") -> Response:
        """Prometheus text."""
        async with scrape:
            if metrics.is_shared:  # many files to read: a thread does it, and calls go on
                text, content_type = await asyncio.to_thread(metrics.exposition, accept)
            else:
                text, content_type = metrics.exposition(accept)
        return Response(text, media_type=content_type)

    return router


def gateway_version() -> str:
    try:
        return version("justitia-gateway")
    except PackageNotFoundError:  # run from its sources, not installed
        return "unknown"
