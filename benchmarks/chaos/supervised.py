"""A process that somebody starts again some seconds after it has died, as compose and Kubernetes do."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

_STOP_TIMEOUT_S = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Supervised:
    """Alive from `with` on; each start appends to the same log."""

    def __init__(
        self, command: Sequence[str], log: Path, restart_after_s: float, environment: Mapping[str, str] | None = None
    ) -> None:
        self.log_path = log
        self.restarted_at: float | None = None
        """Monotonic seconds of the latest."""
        self._command = [*command]
        self._restart_after_s = restart_after_s
        self._environment = {**os.environ, **(environment or {})}
        self._stopping = threading.Event()
        self._process = self._started()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)

    def __enter__(self) -> "Supervised":
        self._supervisor.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopping.set()
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._supervisor.join()

    def kill(self) -> None:
        """With all that it has started, as a container dies."""
        os.killpg(self._process.pid, signal.SIGKILL)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def _started(self) -> subprocess.Popen[bytes]:
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _supervise(self) -> None:
        while True:
            self._process.wait()
            if self._stopping.wait(self._restart_after_s):
                return
            self._process = self._started()
            self.restarted_at = time.monotonic()
