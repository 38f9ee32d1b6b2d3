"""All parts of a deployment in processes of their own on this machine, watched as in production."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.chaos.supervised import Supervised, free_port
from tests.deploy.observed import Prometheus, prometheus
from tests.fakes.running_engine import SMALL, TOKEN

_ROOT = Path(__file__).parents[2]
_PATIENCE_S = 240.0
"""A real engine on two slow cores takes a minute."""
_GATEWAYS = ("gateway", "other-gateway")


@dataclass(frozen=True, slots=True)
class Form:
    has_real_engine: bool
    scrape_interval_s: int
    restart_after_s: Mapping[str, float]
    num_callers: int


# What is killed stays away until its alert has fired.
SHORT = Form(False, 1, {"redis": 11.0, "engine": 11.0, "gateway": 11.0}, 6)
FULL = Form(True, 5, {"redis": 20.0, "engine": 2.0, "gateway": 20.0}, 8)
"""As deployed: a scrape every five seconds. The engine takes its time to start by itself."""


class Stage:
    def __init__(self, urls: Sequence[str], parts: Mapping[str, Supervised], watching: Prometheus) -> None:
        self.urls = urls
        """Of the gateways; the first is the one that is looked at, and killed."""
        self.parts = parts
        self.prometheus = watching
        self._http = httpx.Client(timeout=5.0)

    def readyz(self) -> dict[str, Any] | None:
        return self._json(self.urls[0], "/readyz")

    def overview(self) -> dict[str, Any] | None:
        return self._json(self.urls[0], "/v1/overview?limit=500")

    def are_ready(self) -> bool:
        """All gateways."""
        answers = [self._json(url, "/readyz") for url in self.urls]
        return all(answer is not None and answer["status"] == "ready" for answer in answers)

    def _json(self, url: str, path: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._http.get(f"{url}{path}").json()
        except httpx.TransportError:
            return None
        return found

    def close(self) -> None:
        self._http.close()


@contextlib.contextmanager
def staged(folder: Path, form: Form, num_gateways: int = 1) -> Iterator[Stage]:
    redis_port, engine_port = free_port(), free_port()
    ports = [free_port() for _ in range(num_gateways)]
    commands = {
        "redis": [
            *("redis-server", "--bind", "127.0.0.1", "--port", str(redis_port)),
            *("--save", "", "--appendonly", "no", "--dir", str(folder)),
        ],
        "engine": _engine(engine_port, form),
    }
    for port, name in zip(ports, _GATEWAYS, strict=False):
        commands[name] = [
            *(sys.executable, "-m", "gateway.cli", "serve", "--port", str(port)),
            *("--engine", f"http://127.0.0.1:{engine_port}", "--redis", f"redis://127.0.0.1:{redis_port}/0"),
        ]
    environment = {
        "JUSTITIA_ENGINE_TOKEN": TOKEN,
        "JUSTITIA_ENGINES__TOKEN": TOKEN,
        "JUSTITIA_LEARNING__TRAINS": "false",
        "XDG_STATE_HOME": str(folder / "state"),
        "PYTHONPATH": str(_ROOT),
    }
    with contextlib.ExitStack() as stack:
        parts = {
            name: stack.enter_context(
                Supervised(command, folder / f"{name}.log", form.restart_after_s.get(name, 0.0), environment)
            )
            for name, command in commands.items()
        }
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        watching = stack.enter_context(prometheus(folder, urls, form.scrape_interval_s))
        stage = Stage(urls, parts, watching)
        stack.callback(stage.close)
        until(stage.are_ready, lambda: "\n".join(part.log()[-2000:] for part in parts.values()))
        yield stage


def _engine(port: int, form: Form) -> list[str]:
    if form.has_real_engine:
        return [
            sys.executable,
            "-m",
            "gateway.engine_command",
            "tiny",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            *SMALL,
        ]
    return [sys.executable, "-m", "benchmarks.soak.engine", str(port)]


def until(condition: Callable[[], object], words: Callable[[], str], timeout_s: float = _PATIENCE_S) -> None:
    """Raises TimeoutError."""
    patience_until = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > patience_until:
            raise TimeoutError(f"not within {timeout_s:g} s: {words()}")
        time.sleep(0.2)  # other processes have no event to wait for
