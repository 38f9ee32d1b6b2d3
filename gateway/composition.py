"""Puts the gateway together: the only place that picks adapters.

`compose(settings)` → a FastAPI app whose lifespan runs the dispatcher and closes what was opened.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI

from gateway.clock import SteadyClock
from gateway.engines.vllm import VllmEngine
from gateway.fairness.units import KvTokenTime
from gateway.http.app import create_http_app
from gateway.identity import KeyRing, KindRegistry, key_digest
from gateway.metrics import Metrics
from gateway.ports import StateStore
from gateway.scheduling.dispatcher import Dispatcher
from gateway.scheduling.mean_cost import MeanCostPredictor
from gateway.settings import Settings, StoreSettings, TenantSettings
from gateway.stores.memory import MemoryStore
from gateway.stores.redis import RedisStore

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gateway:
    app: FastAPI
    dispatcher: Dispatcher
    failed: asyncio.Event
    """Set when the dispatcher's own tasks broke down: the process cannot serve and should end."""


def compose(settings: Settings) -> Gateway:
    kinds = KindRegistry()
    metrics = Metrics(settings.scheduling.policy, kinds)
    store = make_store(settings.store)
    engines = [VllmEngine(url, settings.engines) for url in settings.engines.urls]
    predictor = MeanCostPredictor(store, KvTokenTime(settings.applications.default_cost))
    dispatcher = Dispatcher(settings, store, engines, predictor, metrics, kinds, SteadyClock().now)
    failed = asyncio.Event()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        running = asyncio.create_task(dispatcher.run())
        running.add_done_callback(lambda task: _broke_down(task, failed))
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            for engine in engines:
                await engine.aclose()
            await store.aclose()

    app = create_http_app(dispatcher, make_key_ring(settings.tenants), settings, metrics, lifespan=lifespan)
    return Gateway(app, dispatcher, failed)


def create_app(settings: Settings) -> FastAPI:
    return compose(settings).app


def make_store(settings: StoreSettings) -> StateStore:
    if settings.redis_url is None:
        return MemoryStore()
    return RedisStore(
        settings.redis_url,
        prefix=f"{{{settings.prefix}}}",
        timeout_s=settings.timeout_s,
        application_ttl_s=settings.application_ttl_s,
        clock_ttl_s=settings.clock_ttl_s,
    )


def make_key_ring(settings: TenantSettings) -> KeyRing:
    if not settings.api_keys:
        return KeyRing()
    return KeyRing({key_digest(key): tenant for key, tenant in settings.api_keys.items()})


def _broke_down(task: asyncio.Task[None], failed: asyncio.Event) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("the dispatcher broke down", exc_info=error)
        failed.set()
