"""Puts the gateway together: the only place that picks adapters.

`compose(settings)` → an ASGI app whose lifespan runs the dispatcher and closes what was opened.
"""

import asyncio
import importlib
import importlib.util
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.types import ASGIApp

from gateway.call_log import CallLog
from gateway.call_report import Tracer
from gateway.clock import SteadyClock
from gateway.engines.vllm import VllmEngine
from gateway.fairness.units import KvTokenTime
from gateway.http.app import create_http_app
from gateway.http.call_watch import CallWatch
from gateway.http.operations import gateway_version
from gateway.identity import Keys, KindRegistry
from gateway.identity.classes import TenantClasses
from gateway.key_place import make_key_watch
from gateway.learning.learning import Learning
from gateway.learning.trained import Artifact, Toolkit, TrainedPredictor, UnusableArtifact
from gateway.learning.training import TrainingProcess
from gateway.metrics import Metrics
from gateway.process_watch import watch_process
from gateway.scheduling.dispatcher import Dispatcher
from gateway.scheduling.overview_desk import OverviewDesk
from gateway.settings import Settings
from gateway.storage import storage_of
from gateway.tracing.config import tracing_config

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gateway:
    app: ASGIApp
    dispatcher: Dispatcher
    keys: Keys
    failed: asyncio.Event
    """Set when the dispatcher's own tasks broke down: the process cannot serve and should end."""


def compose(settings: Settings) -> Gateway:
    """Raises ValueError for an unusable Redis URL."""
    watch = make_key_watch(settings)
    kinds = KindRegistry()
    metrics = Metrics(settings.scheduling.policy, kinds)
    metrics.build(gateway_version())
    storage = storage_of(settings)
    store, links, ledger, sums = storage.store(), storage.links(), storage.ledger(), storage.sums()
    engines = [VllmEngine(url, settings.engines) for url in settings.engines.urls]
    now = SteadyClock().now
    toolkit = make_toolkit()
    predictor = TrainedPredictor(
        toolkit, KvTokenTime(settings.applications.default_cost), keeps_words=settings.learning.keeps_words
    )
    learning = Learning(
        storage.history(), storage.shelf(), predictor, toolkit, settings.learning, metrics, now,
        make_training(settings),
    )  # fmt: skip
    dispatcher = Dispatcher(
        settings, store, engines, predictor, metrics, kinds, now, learning.closed,
        terms_of=watch.keys.terms_of, caps_weights=lambda: not watch.keys.is_open, ledger=ledger, sums=sums,
    )  # fmt: skip
    tracer = make_tracer(settings, metrics)
    call_watch = make_call_watch(settings, tracer, now, watch.keys)
    failed = asyncio.Event()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await watch.start()
        tasks = [
            _kept_alive(dispatcher.run(), "the dispatcher broke down", failed),
            _kept_alive(learning.run(), "the gateway learns no longer"),
            _kept_alive(watch_process(metrics), "the gateway watches itself no longer"),
            _kept_alive(watch.run(), "the gateway follows its keys no longer", failed),
        ]
        if tracer is not None:
            tasks.append(_kept_alive(tracer.run(), "the gateway sends no spans any longer"))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if call_watch is not None:
                call_watch.tell()
            for part in (tracer, learning, *engines, links, ledger, sums, store, watch):
                if part is not None:
                    await part.aclose()

    overview = OverviewDesk(dispatcher.insides(), now, settings.applications.max_listed)
    app = create_http_app(
        dispatcher, overview, watch.keys, links, settings, metrics, watch=call_watch, lifespan=lifespan
    )
    return Gateway(app, dispatcher, watch.keys, failed)


def create_app(settings: Settings) -> ASGIApp:
    return compose(settings).app


def make_tracer(settings: Settings, metrics: Metrics) -> Tracer | None:
    """None where no traces are wanted; then nothing of OpenTelemetry is imported. Raises ImpossibleSetting."""
    config = tracing_config(settings.tracing, os.environ)
    if config is None:
        return None
    from gateway.tracing.tracer import OtlpTracer

    return OtlpTracer(config, gateway_version(), metrics.spans)


def make_call_watch(
    settings: Settings, tracer: Tracer | None, now: Callable[[], float], keys: Keys
) -> CallWatch | None:
    """None where nobody wants to know of single calls."""
    wanted = settings.logs.calls
    if tracer is None and wanted == "none":
        return None
    classes = TenantClasses(settings.tenants.classes)
    call_log = None if wanted == "none" else CallLog(now, is_complete=wanted == "all")
    return CallWatch(tracer, call_log, now, lambda tenant: classes.of(keys.terms_of(tenant).weight))


def make_training(settings: Settings) -> TrainingProcess | None:
    """None where training is not wanted, or not possible."""
    if not settings.learning.trains or settings.learning.predictor == "mean":
        return None
    if any(importlib.util.find_spec(name) is None for name in ("numpy", "safetensors", "tqdm")):
        log.info("costs stay running means: to learn more, install justitia-gateway[predictor]")
        return None
    environment = {
        "JUSTITIA_STORE__PREFIX": settings.store.prefix,
        "JUSTITIA_LEARNING__MODEL": settings.learning.model,
        "JUSTITIA_LEARNING__MAX_RECORDED": str(settings.learning.max_recorded),
    }
    if settings.store.redis_url is not None:
        environment["JUSTITIA_STORE__REDIS_URL"] = settings.store.redis_url
    else:
        environment["JUSTITIA_LEARNING__FOLDER"] = str(settings.learning.folder_in_use())
    return TrainingProcess(environment)


def make_toolkit() -> Toolkit:
    """Of the package `predictor`: what needs no third party at once, the rest with the first artifact."""
    features = importlib.import_module("predictor.features")
    return Toolkit(features.Features.of, features.Progress, _load_artifact)


def _load_artifact(blob: bytes) -> Artifact:
    try:
        artifacts = importlib.import_module("predictor.artifacts")
    except ImportError as error:
        raise UnusableArtifact(f"{error.name} is not installed (justitia-gateway[predictor])") from error
    try:
        artifact: Artifact = artifacts.loads(blob)
    except artifacts.ArtifactError as error:
        raise UnusableArtifact(str(error)) from error
    return artifact


def _kept_alive(
    work: Coroutine[None, None, None], loss: str, failed: asyncio.Event | None = None
) -> asyncio.Task[None]:
    """Runs until cancelled. Should it end by itself, that is a fault of ours: it is told, and with `failed` the process
    is to end by it, because it would serve wrongly."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("%s", loss, exc_info=error)
            if failed is not None:
                failed.set()

    task = asyncio.create_task(work)
    task.add_done_callback(ended)
    return task
