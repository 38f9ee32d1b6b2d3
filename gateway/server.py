"""One gateway as a server process: alone on an address of its own, or one of several workers on their parent's."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import cast

import uvicorn

from gateway.composition import Gateway, compose
from gateway.listening import Listening, ListeningLimits, limits_with_files
from gateway.settings import Settings

log = logging.getLogger(__name__)

_TICKS_A_SWEEP = 10
"""Uvicorn ticks ten times a second."""


_GARBAGE_THRESHOLD = 10_000
"""Objects more than were freed, before the youngest are looked through: a call leaves some hundred for the moment, and
few of them in cycles."""


@dataclass(frozen=True, slots=True)
class Parent:
    """What a worker has of the process that started it (gateway.workers)."""

    listeners: tuple[socket.socket, ...]
    link: socket.socket
    """Told when calls are served; its other end closes when the parent is gone."""


def run(settings: Settings, parent: Parent | None = None) -> int:
    """Serves until it is told to stop; the exit status."""
    # Uvicorn's choice of loop (uvloop where it is installed): it makes one only when it also runs it.
    with asyncio.Runner(loop_factory=uvicorn.Config(_serve, log_config=None).get_loop_factory()) as runner:
        return runner.run(_serve(settings, parent))


class GatewayServer(uvicorn.Server):
    """Uvicorn, but a stop signal first tells the dispatcher, so that queued calls are refused and not waited for."""

    def __init__(
        self, config: uvicorn.Config, gateway: Gateway, listening: Listening, on_started: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._listening = listening
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What is here now stays; looking through it again and again for garbage is what makes single calls slow.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GARBAGE_THRESHOLD, 20, 50)
        self._on_started()

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_A_SWEEP == 0:
            self._listening.sweep(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._gateway.dispatcher.begin_drain()
        super().handle_exit(sig, frame)


async def _serve(settings: Settings, parent: Parent | None) -> int:
    # Uvicorn raises the signal once more when it has stopped, to end as if by it. A clean stop is our exit status 0.
    # One that comes before uvicorn listens for it is kept, not lost.
    early: list[int] = []
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda number, _: early.append(number))
    gateway = compose(settings)
    listening = Listening(limits_with_files(ListeningLimits()))
    config = server_config(gateway, settings, listening)

    def started() -> None:
        if early:
            server.handle_exit(early[0], None)
        if parent is not None:
            _stay_with(parent, server)

    server = GatewayServer(config, gateway, listening, started)
    watch = asyncio.create_task(_stop_when_broken(gateway, server))
    try:
        await server.serve(list(parent.listeners) if parent is not None else None)
    except SystemExit:  # uvicorn's way to say that it could not listen; it has said why
        return 1
    finally:
        watch.cancel()
    return 1 if gateway.failed.is_set() or not server.started else 0


def server_config(gateway: Gateway, settings: Settings, listening: Listening) -> uvicorn.Config:
    return uvicorn.Config(
        gateway.app,
        host=settings.server.host,
        port=settings.server.port,
        http=cast(type[asyncio.Protocol], listening.protocol),  # uvicorn only calls it
        ws="none",  # nothing here speaks it
        proxy_headers=False,  # who asks from this machine may see all of an open gateway: no header can claim that
        timeout_graceful_shutdown=int(settings.server.drain_timeout_s),
        timeout_keep_alive=int(listening.limits.idle_s),
        log_config=None,
        access_log=False,
        server_header=False,
    )


async def _stop_when_broken(gateway: Gateway, server: GatewayServer) -> None:
    await gateway.failed.wait()
    server.handle_exit(signal.SIGTERM, None)


def _stay_with(parent: Parent, server: GatewayServer) -> None:
    loop = asyncio.get_running_loop()

    def gone() -> None:  # it says nothing more, so what can be read is the end
        loop.remove_reader(parent.link)
        log.warning("the parent process is gone")
        server.handle_exit(signal.SIGTERM, None)

    loop.add_reader(parent.link, gone)
    with contextlib.suppress(OSError):  # gone already, which the reader sees
        parent.link.send(b"+")
