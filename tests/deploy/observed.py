"""A gateway that is watched as in production: `justitia serve`, real calls, and a Prometheus that scrapes it."""

import asyncio
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from gateway.demo.processes import free_port
from tests.deploy.modelled_vllm import BREAKS, ModelledVllm

PROMETHEUS = Path(__file__).parent.parent.parent / "deploy" / "prometheus"

_PATIENCE_S = 120.0
WEIGHTS = {"nightly": 500, "somebody": 1000, "payer": 2000}
"""Tenants, one of each class."""


class Prometheus:
    """Debian's, with our own configuration but for who is asked and how often."""

    def __init__(self, folder: Path, gateway_urls: Sequence[str], scrape_interval_s: int = 5) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        gateways = '", "'.join(url.partition("//")[2] for url in gateway_urls)
        config = (PROMETHEUS / "prometheus.yml").read_text().replace("gateway:8080", gateways)
        config = config.replace("- alerts.yml", f"- {PROMETHEUS / 'alerts.yml'}")
        config = re.sub(r"(scrape_(?:interval|timeout)): \d+s", rf"\1: {scrape_interval_s}s", config)
        (folder / "prometheus.yml").write_text(config)
        self._log_path = folder / "prometheus.log"
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={folder}/prometheus.yml",
                    f"--storage.tsdb.path={folder}/series",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self.until(lambda: self._is_ready())
        except TimeoutError:
            self.stop()
            raise AssertionError(f"Prometheus did not start:\n{self._log_path.read_text()[-4000:]}") from None

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def query(self, expr: str, at: float | None = None) -> list[dict[str, Any]]:
        """The samples; an error of the expression's is an AssertionError."""
        answer = httpx.post(f"{self.url}/api/v1/query", data={"query": expr, **({} if at is None else {"time": at})})
        assert answer.status_code == 200, f"{expr}: {answer.text}"
        result = answer.json()["data"]["result"]
        return result if isinstance(result, list) else []

    def rules(self) -> list[dict[str, Any]]:
        groups = httpx.get(f"{self.url}/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def firing(self) -> set[str]:
        return {rule["name"] for rule in self.rules() if rule["state"] == "firing"}

    @staticmethod
    def until(condition: Any, timeout_s: float = _PATIENCE_S) -> None:
        patience_until = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > patience_until:
                raise TimeoutError(f"not within {timeout_s:g} s")
            time.sleep(0.1)  # another process has no event to wait for

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)


class Engine:
    """A ModelledVllm on a thread of its own, beside tests that wait for other processes."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.vllm = ModelledVllm()

    def __enter__(self) -> "Engine":
        self._thread.start()
        self.run(self.vllm.__aenter__())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.run(self.vllm.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE_S)

    def start(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop)


def made_keys(file: Path) -> dict[str, str]:
    """A key of each tenant, made as an operator makes it."""
    return {
        tenant: subprocess.run(
            [sys.executable, "-m", "gateway.cli", "keys", "create", "--tenant", tenant, "--weight", str(weight),
             "--keys-file", str(file)],
            check=True, capture_output=True, text=True, env=dict(os.environ),
        ).stdout.strip()
        for tenant, weight in WEIGHTS.items()
    }  # fmt: skip


async def load(url: str, keys: Mapping[str, str], num_side_by_side: int = 12) -> None:
    """Applications of every tenant, two kinds, for ever: until cancelled."""
    draw = random.Random(7)
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(base_url=url, timeout=600.0, limits=limits) as client, asyncio.TaskGroup() as group:
        for number in range(num_side_by_side):
            tenant = list(keys)[number % len(keys)]
            group.create_task(_applications(client, keys[tenant], f"{tenant}-{number}", draw))


async def _applications(client: httpx.AsyncClient, key: str, name: str, draw: random.Random) -> None:
    number = 0
    while True:
        number += 1
        kind, words, num_calls = draw.choice([("chat", 20, 1), ("chat", 60, 2), ("agent", 200, 4)])
        headers = {
            "authorization": f"Bearer {key}",
            "x-justitia-application": f"{name}-{number}",
            "x-justitia-kind": kind,
        }
        if number % 10 == 0:
            await client.post(
                "/v1/completions", json=_call(f"{BREAKS} ", 1), headers=headers | {"x-justitia-final": "1"}
            )
            continue
        for call in range(num_calls):
            is_last = {"x-justitia-final": "1"} if call == num_calls - 1 else {}
            body = _call("word " * words, draw.choice([8, 20, 60]))
            response = await client.post("/v1/completions", json=body, headers=headers | is_last)
            assert response.status_code == 200, response.text


def _call(prompt: str, max_tokens: int) -> dict[str, object]:
    return {"model": "tiny", "prompt": prompt, "max_tokens": max_tokens}


def learning(folder: Path) -> dict[str, str]:
    return {
        "JUSTITIA_LEARNING__TRAINS": "true",
        "JUSTITIA_LEARNING__FOLDER": str(folder / "learnt"),
        "JUSTITIA_LEARNING__POLL_INTERVAL_S": "0.2",
        "JUSTITIA_TENANTS__KEYS_FILE": str(folder / "keys.json"),
    }


@contextmanager
def prometheus(folder: Path, gateway_urls: Sequence[str], scrape_interval_s: int = 5) -> Iterator[Prometheus]:
    running = Prometheus(folder, gateway_urls, scrape_interval_s)
    try:
        yield running
    finally:
        running.stop()


def expressions(dashboard: Path) -> list[tuple[str, str]]:
    """(panel's title, PromQL) of a dashboard's JSON, with Grafana's own variables as it would fill them in."""
    found = []
    for panel in json.loads(dashboard.read_text())["panels"]:
        for target in panel.get("targets", []):
            expr = target["expr"].replace("$__rate_interval", "30s").replace("$policy", ".*").replace("$engine", ".*")
            assert "$" not in expr, expr
            found.append((panel["title"], expr))
    return found
