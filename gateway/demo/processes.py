"""Child processes that never outlive their context: stopped politely, then not, whatever ended the context."""

import asyncio
import contextlib
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

_GRACE_S = 15.0
"""Between the polite signal and the other one. An engine takes two seconds, a gateway as long as its calls."""
_ERROR_LINE = re.compile(r"[\w.]*(Error|Exception): ")
"""The last line of a Python traceback."""


class ChildFailed(Exception):
    """A child ended by itself, or was not ready in time; the message says which and where its log is."""


class Child:
    """One running child, in a process group of its own: a Ctrl-C in the terminal reaches us, not it."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ended(self) -> int:
        """Waits for its end; the exit code."""
        return await self._process.wait()

    async def until_ready(self, url: str, timeout_s: float, tick: Callable[[float], None]) -> None:
        """Until `url` answers 200; `tick` is told the seconds gone by. Raises ChildFailed."""
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        async with httpx.AsyncClient(timeout=2.0) as client:
            while True:
                if self._process.returncode is not None:
                    raise self.failure()
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(url)).status_code == 200:
                        return
                waited_s = loop.time() - started_s
                if waited_s > timeout_s:
                    raise ChildFailed(f"{self.name} was not ready after {timeout_s:.0f} s; {self.complaint()}")
                tick(waited_s)
                await asyncio.sleep(0.1)

    def failure(self) -> ChildFailed:
        """It ended by itself: what to raise."""
        return ChildFailed(f"{self.name} ended with exit code {self._process.returncode}; {self.complaint()}")

    def complaint(self) -> str:
        """The line of its log that tells most, and where the others are."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        # The first error is the cause; what follows reports that something failed.
        telling = next((line for line in lines if _ERROR_LINE.match(line)), lines[-1] if lines else "no output")
        return f'it said "{telling.strip()[:300]}"; its log: {self._log}'

    async def stop(self, grace_s: float = _GRACE_S) -> None:
        """SIGTERM, a grace, SIGKILL for all that is left of its group: an engine has children of its own."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), grace_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()


@asynccontextmanager
async def child(name: str, argv: Sequence[str], env: Mapping[str, str], log: Path) -> AsyncIterator[Child]:
    """Starts `argv` with `env` over our own environment, its output in `log`; stopped when the context ends."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env={**os.environ, **env},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    running = Child(name, process, log)
    try:
        yield running
    finally:
        # Shielded: a second Ctrl-C must not leave an engine behind.
        await asyncio.shield(asyncio.ensure_future(running.stop()))


def free_port(wanted: int = 0, host: str = "127.0.0.1") -> int:
    """`wanted` or the next free port above it; any free one for 0. Another process may still be faster."""
    for port in range(wanted, 65_536) if wanted else (0,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ChildFailed(f"no free port from {wanted} on")
