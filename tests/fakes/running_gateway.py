"""`justitia serve` in a process of its own, as an operator starts it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from gateway.demo.processes import free_port
from tests.fakes.running_engine import TOKEN

_START_TIMEOUT_S = 60.0
_PATIENT = {
    "JUSTITIA_STORE__TIMEOUT_S": "10",
    "JUSTITIA_ENGINES__STATE_TIMEOUT_S": "10",
    "JUSTITIA_ENGINES__UNREACHABLE_GRACE_S": "60",
}
"""Virtual machines that run tests stand still for seconds now and then; nothing is to be called lost for that."""


class RunningGateway:
    def __init__(self, folder: Path, *flags: str, environment: Mapping[str, str] | None = None) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._log_path = folder / f"gateway-{port}.log"
        with self._log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli", "serve", "--port", str(port), *flags],
                env={**os.environ, **_PATIENT, "JUSTITIA_ENGINES__TOKEN": TOKEN, **(environment or {})},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        patience_until = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < patience_until and self.process.poll() is None:
            try:
                if httpx.get(f"{self.url}/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)  # another process has no event to wait for
        self.stop()
        raise AssertionError(f"the gateway did not become ready:\n{self.log()}")

    def client(self, **options: object) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=200, keepalive_expiry=2.0)
        return httpx.AsyncClient(base_url=self.url, timeout=120.0, limits=limits, **options)  # type: ignore[arg-type]

    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@contextmanager
def running_gateway(
    folder: Path, *flags: str, environment: Mapping[str, str] | None = None
) -> Iterator[RunningGateway]:
    gateway = RunningGateway(folder, *flags, environment=environment)
    try:
        yield gateway
    finally:
        gateway.stop()
