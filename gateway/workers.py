"""Several gateway processes behind one address, and the process that looks after them.

The parent listens and never accepts: each worker inherits the listening sockets and takes what it can, so a connection
waits while any of them is alive. State is shared through Redis, as between gateways on several machines. What a worker
is to know comes over a socket pair (settings, one line); back comes a byte once it serves. The parent's end closes with
the parent, however that ended, and the worker drains: there are no orphans.

A worker that ends is replaced under the same number, under which it also counts (gateway.metrics): counters go on.
"""

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from gateway.metrics import forget_worker
from gateway.settings import Settings

log = logging.getLogger(__name__)

WORKER = (sys.executable, "-m", "gateway.worker")

_SHORT_LIFE_S = 1.0
_MAX_SHORT_LIVES = 5
_FIRST_PAUSE_S = 0.05
"""Before a replacement; doubled with every short life, so that five of them take a second and a half."""
_CLOSING_S = 5.0
"""What a worker may take beyond the drain, to close its connections, before it is killed."""
_BACKLOG = 2048


def run(settings: Settings, log_level: str) -> int:
    """Until told to stop; the exit status."""
    server = settings.server
    try:
        listeners = listen(server.host, server.port)
    except OSError as error:
        print(f"justitia serve: cannot listen on {server.host} port {server.port}: {error}", file=sys.stderr)
        return 1
    for listener in listeners:
        log.info("%d workers listen on http://%s", server.workers, _shown(listener))
    return asyncio.run(_look_after(settings, log_level, listeners))


async def _look_after(settings: Settings, log_level: str, listeners: Sequence[socket.socket]) -> int:
    loop = asyncio.get_running_loop()
    workers = Workers(settings, log_level, listeners)
    for told in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(told, workers.stop)
    return await workers.run()


def listen(host: str, port: int) -> list[socket.socket]:
    """One socket for each address that the host's name stands for and this machine has. Raises OSError."""
    listeners: list[socket.socket] = []
    lacking: OSError | None = None
    infos = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, _, _, _, address in dict.fromkeys(infos):
        try:
            listeners.append(socket.create_server(address, family=family, backlog=_BACKLOG))
        except OSError as error:
            if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):  # localhost is ::1 too, where there is IPv6
                lacking = error
                continue
            for listener in listeners:
                listener.close()
            raise
    if not listeners:
        raise lacking or OSError(f"{host} has no address")
    return listeners


class Workers:
    """`settings.server.workers` of them, numbered from 1."""

    def __init__(
        self, settings: Settings, log_level: str, listeners: Sequence[socket.socket], command: Sequence[str] = WORKER
    ) -> None:
        self._settings = settings
        self._log_level = log_level
        self._listeners = listeners
        self._command = command
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._is_stopping = asyncio.Event()
        self._status = 0

    async def run(self) -> int:
        """Until `stop`, or until a worker cannot be kept alive: 0 if all ended well."""
        with tempfile.TemporaryDirectory(prefix="justitia-", ignore_cleanup_errors=True) as folder:
            async with asyncio.TaskGroup() as group:
                for number in range(1, self._settings.server.workers + 1):
                    group.create_task(self._keep_alive(number, Path(folder)))
        return self._status

    def stop(self) -> None:
        """Once: drain and end. Twice: end."""
        if self._is_stopping.is_set():
            self._kill()
            return
        self._is_stopping.set()
        for listener in self._listeners:
            listener.close()
        for process in self._running.values():
            _send(process, signal.SIGTERM)
        patience_s = self._settings.server.drain_timeout_s + _CLOSING_S
        asyncio.get_running_loop().call_later(patience_s, self._kill)

    def _kill(self) -> None:
        for number, process in self._running.items():
            log.warning("worker %d is killed", number)
            _send(process, signal.SIGKILL)

    # --- one of them ------------------------------------------------------------------------------------------------

    async def _keep_alive(self, number: int, folder: Path) -> None:
        num_short = 0
        while not self._is_stopping.is_set():
            status, served_s = await self._live(number, folder)
            if self._is_stopping.is_set():
                # It may have been told before it could listen to that.
                self._status |= status not in (0, -signal.SIGTERM)
                return
            num_short = num_short + 1 if served_s < _SHORT_LIFE_S else 0
            if num_short >= _MAX_SHORT_LIVES:
                log.error("worker %d ended at its start %d times (%s): giving up", number, num_short, _how(status))
                self._status = 1
                self.stop()
                return
            log.warning("worker %d ended (%s) and is replaced", number, _how(status))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_stopping.wait(), _FIRST_PAUSE_S * 2**num_short)

    async def _live(self, number: int, folder: Path) -> tuple[int, float]:
        """From its start to its end: (exit status, seconds that it served)."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                process = await self._started(number, folder, theirs)
            if process is None:
                return 1, 0.0
            self._running[number] = process
            if self._is_stopping.is_set():  # told while it was being started
                _send(process, signal.SIGTERM)
            served_since = await self._introduced(number, ours)
            status = await process.wait()
            del self._running[number]
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it started itself, if it had no time to end it
            forget_worker(folder, number)
            return status, time.monotonic() - served_since

    async def _started(self, number: int, folder: Path, link: socket.socket) -> asyncio.subprocess.Process | None:
        fds = [link.fileno(), *(listener.fileno() for listener in self._listeners)]
        try:
            return await asyncio.create_subprocess_exec(
                *self._command, str(number), str(folder), self._log_level, *map(str, fds),
                pass_fds=fds,
                stdin=asyncio.subprocess.DEVNULL,
                process_group=0,  # Ctrl-C in a terminal is for the parent, which tells them once
            )  # fmt: skip
        except OSError as error:  # no memory, no process left
            log.warning("worker %d could not be started: %s", number, error)
            return None

    async def _introduced(self, number: int, link: socket.socket) -> float:
        """Tells it its settings and waits until it serves: since when, or inf if it never did."""
        loop = asyncio.get_running_loop()
        link.setblocking(False)
        with contextlib.suppress(ConnectionError):
            await loop.sock_sendall(link, _settings_of(number, self._settings).model_dump_json().encode() + b"\n")
            if await loop.sock_recv(link, 1):
                log.info("worker %d serves", number)
                return time.monotonic()
        return float("inf")


def _settings_of(number: int, settings: Settings) -> Settings:
    """Everybody learns, one trains."""
    if number == 1:
        return settings
    return settings.model_copy(update={"learning": settings.learning.model_copy(update={"trains": False})})


def _send(process: asyncio.subprocess.Process, told: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(told)


def _how(status: int) -> str:
    return f"exit status {status}" if status >= 0 else signal.strsignal(-status) or f"signal {-status}"


def _shown(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
