"""Processes that the benchmark starts, each on its own core, and ends again by their numbers."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from benchmarks.gateway.usage import tree

_END_TIMEOUT_S = 15.0
_POLL_S = 0.05
_CALL_TIMEOUT_S = 5.0


class NotStarted(Exception):
    """One line: why."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core each has for itself; None: any. The contender always has one, so that ratios are per core."""

    contender: int | None
    upstream: int | None
    load: int | None

    def described(self) -> str:
        if self.contender is None:
            return "not pinned: one core for all"
        if self.upstream == self.load:
            return "the contender on one core; upstream, load and Redis on another"
        return "contender, upstream and load on a core each"


def ends_cleanly_when_told() -> None:
    """A SIGTERM unwinds like an exception, so that whatever was started is ended too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def planned(cores: Sequence[int]) -> Cores:
    if len(cores) < 2 or shutil.which("taskset") is None:
        return Cores(None, None, None)
    return Cores(cores[0], cores[2] if len(cores) > 2 else cores[1], cores[1])


def pinned(core: int | None, command: Sequence[str]) -> list[str]:
    return [*command] if core is None else ["taskset", "-c", str(core), *command]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def started(
    command: Sequence[str], log: Path, core: int | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Ended with all its children, also when the body raises. Raises NotStarted where there is no such program."""
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(
                pinned(core, command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**_surroundings(), **(environment or {})},
                cwd=log.parent,
                start_new_session=True,
            )
        except OSError as error:
            raise NotStarted(str(error)) from error
    try:
        yield process
    finally:
        _end(process)


def _surroundings() -> dict[str, str]:
    """Without settings of the gateway that happen to be around."""
    return {name: value for name, value in os.environ.items() if not name.startswith("JUSTITIA_")}


def _end(process: subprocess.Popen[bytes]) -> None:
    children = [number for number in tree(process.pid) if number != process.pid]
    process.terminate()
    try:
        process.wait(_END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for number in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


@contextlib.contextmanager
def started_upstream(program: Path, folder: Path, core: int | None) -> Iterator[int]:
    """Its port, chosen by the kernel."""
    log = folder / "upstream.log"
    with started([str(program), "0"], log, core) as process:
        patience_until = time.monotonic() + _CALL_TIMEOUT_S
        while time.monotonic() < patience_until and process.poll() is None:
            words = log.read_text().split()
            if words[:1] == ["listening"] and len(words) > 1:
                yield int(words[1])
                return
            time.sleep(_POLL_S)  # another process has no event to wait for
        raise NotStarted(f"the upstream: {last_line(log)}")


def wait_for_answer(process: subprocess.Popen[bytes], log: Path, port: int, request: bytes, timeout_s: float) -> None:
    """Until a call gets its 200: one check that fits everybody. Raises NotStarted."""
    patience_until = time.monotonic() + timeout_s
    status: int | None = None
    while time.monotonic() < patience_until:
        if process.poll() is not None:
            raise NotStarted(f"ended with {process.returncode}: {last_line(log)}")
        status = _status_of(port, request)
        if status == 200:
            return
        time.sleep(_POLL_S)  # another process has no event to wait for
    seen = "it never answered" if status is None else f"its last answer was {status}"
    raise NotStarted(f"not ready after {timeout_s:.0f} s, {seen}: {last_line(log)}")


def wait_for_listener(port: int) -> None:
    """Raises NotStarted."""
    patience_until = time.monotonic() + _CALL_TIMEOUT_S
    while time.monotonic() < patience_until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(_POLL_S)  # another process has no event to wait for
    raise NotStarted(f"nobody listens on port {port}")


def _status_of(port: int, request: bytes) -> int | None:
    """None where nobody answers. The bytes are the load's own, so that nothing else is checked than what is run."""
    connection = HTTPConnection("127.0.0.1", port, timeout=_CALL_TIMEOUT_S)
    try:
        connection.connect()
        assert connection.sock is not None
        connection.sock.sendall(request)
        response = connection.response_class(connection.sock, method="POST")
        response.begin()
        response.read()
        return response.status
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
