"""The ASGI application, put together from a dispatcher, keys, settings and metrics."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from gateway.errors import AuthenticationFailed, GatewayError
from gateway.http.applications import applications_router
from gateway.http.call_watch import CallWatch
from gateway.http.calls import Calls
from gateway.http.console import console_router
from gateway.http.control_bodies import ControlBodies
from gateway.http.data_path import DataPath
from gateway.http.direct import Direct
from gateway.http.errors import (
    answer_gateway_error,
    answer_http_exception,
    answer_unexpected,
    answer_validation_error,
)
from gateway.http.operations import gateway_version, operations_router
from gateway.http.overview import overview_router
from gateway.http.tenants import tenants_router
from gateway.identity import Keys
from gateway.metrics import Metrics
from gateway.ports import LinkStore
from gateway.scheduling.dispatcher import Dispatcher
from gateway.scheduling.overview_desk import OverviewDesk
from gateway.settings import Settings

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_http_app(
    dispatcher: Dispatcher,
    overview: OverviewDesk,
    keys: Keys,
    links: LinkStore,
    settings: Settings,
    metrics: Metrics,
    *,
    watch: CallWatch | None = None,
    lifespan: Lifespan | None = None,
) -> ASGIApp:
    def counted(request: Request, error: Exception) -> Response:
        metrics.unauthenticated()
        return answer_gateway_error(request, error)

    app = FastAPI(title="Justitia Gateway", version=gateway_version(), lifespan=lifespan)
    app.include_router(applications_router(dispatcher.desk, keys, links))
    app.include_router(tenants_router(dispatcher, keys))
    app.include_router(operations_router(dispatcher, metrics))
    app.include_router(overview_router(overview, keys, settings, gateway_version()))
    app.include_router(console_router())
    app.add_exception_handler(AuthenticationFailed, counted)
    app.add_exception_handler(GatewayError, answer_gateway_error)
    app.add_exception_handler(HTTPException, answer_http_exception)
    app.add_exception_handler(RequestValidationError, answer_validation_error)
    app.add_exception_handler(Exception, answer_unexpected)
    app.add_middleware(ControlBodies)
    # Before the framework and not within it: calls need none of its layers, and each costs something.
    calls = Calls(dispatcher, keys, links, settings, metrics, watch)
    return DataPath(app, calls, Direct(dispatcher, keys, links, settings), metrics)
