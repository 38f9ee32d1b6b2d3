"""What tests of several rooms share: a real redis-server, a real engine, and the profiles of hypothesis."""

import importlib.util
import os
import random
import shutil
import signal
import subprocess
import warnings
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from redis import Redis

from gateway.demo.processes import free_port
from gateway.tiny_model import ensure_tiny_model
from tests.fakes.running_engine import SMALL, RunningEngine

# The same examples at every run: a red test is red for everybody. `mutants` only wants to know whether a test fails,
# `covering` whether every branch is taken at all.
settings.register_profile("justitia", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "mutants", settings.get_profile("justitia"), phases=[Phase.explicit, Phase.generate], database=None
)
settings.register_profile("covering", settings.get_profile("justitia"), max_examples=20)
settings.load_profile("justitia")

# vLLM asks of each model in a process of its own, which takes a good part of an engine's start, and remembers the
# answer here. Tests that give engines a cache folder of their own would ask anew each time.
os.environ.setdefault("VLLM_CACHE_ROOT", str(Path(__file__).parents[1] / ".pytest_cache" / "vllm"))


@pytest.fixture(autouse=True)
def _nothing_learnt(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test's gateway learns from another's, from the user's own, or beside what a test is about."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / f"state-{next(_NUMBERS)}"))
    monkeypatch.setenv("JUSTITIA_LEARNING__TRAINS", "false")


_NUMBERS = count()

Engines = dict[str, RunningEngine]
"""By the name of its fixture."""


class RedisServer:
    """A redis-server of this test run: unix socket, temporary folder, nothing written to disk."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        self.url = f"unix://{folder}/redis.sock"

    def start(self) -> None:
        options = ("--port", "0", "--unixsocket", f"{self._folder}/redis.sock", "--save", "", "--appendonly", "no")
        self._process = subprocess.Popen(
            ["redis-server", *options, *self._options],
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.wait_for_log("eady to accept connections")

    def wait_for_log(self, text: str) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        log = []
        for line in self._process.stdout:
            log.append(line)
            if text in line:
                return
        raise AssertionError("redis-server ended:\n" + "".join(log))

    def kill(self) -> None:
        """At once, as a crash does."""
        assert self._process is not None
        assert self._process.stdout is not None
        self.resume()
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self._process = None

    def hang(self) -> None:
        """Connections stay open and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None:
            self.kill()


def _demand_redis() -> None:
    if shutil.which("redis-server") is None:
        if os.environ.get("CI"):
            pytest.fail("redis-server is missing: in CI that is a failure, not a reason to skip")
        pytest.skip("redis-server is not installed")


def _serving(folder: Path, *options: str) -> Iterator[RedisServer]:
    _demand_redis()
    server = RedisServer(folder, *options)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for the whole run. Use a prefix of your own, or flush it first."""
    for server in _serving(tmp_path_factory.mktemp("redis")):
        yield server.url


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server for one test, which may kill it."""
    yield from _serving(tmp_path_factory.mktemp("redis"))


@pytest.fixture
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server in cluster mode: it refuses scripts whose keys lie in several slots."""
    port = str(free_port(random.randrange(20_000, 50_000)))  # it listens 10,000 above that, too
    options = ("--cluster-enabled", "yes", "--port", port, "--bind", "127.0.0.1")
    for server in _serving(tmp_path_factory.mktemp("redis"), *options):
        with Redis.from_url(server.url) as client:
            client.execute_command("CLUSTER ADDSLOTS", *range(16384))
        server.wait_for_log("Cluster state changed: ok")
        yield server


@pytest.fixture(scope="session")
def engines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    """Those that tests of this run ask for, started at once: most of a start keeps one core busy, and no more."""
    if importlib.util.find_spec("vllm") is None:
        if os.environ.get("CI"):
            pytest.fail("vLLM is missing: in CI that is a failure, not a reason to skip")
        pytest.skip("vLLM is not installed")
    asked_for = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    started = {
        name: make(tmp_path_factory.mktemp(name))
        for name, make in (("engine", patched_engine), ("stock_engine", unpatched_engine))
        if name in asked_for
    }
    try:
        yield {name: running.ready() for name, running in started.items()}
    finally:
        for running in started.values():
            running.stop()


@pytest.fixture(scope="session")
def engine(engines: Engines) -> RunningEngine:
    """One patched engine with little memory for the whole run (a minute to start). Mark tests `engine`."""
    return engines["engine"]


@pytest.fixture(scope="session")
def stock_engine(engines: Engines) -> RunningEngine:
    """The same without our patch, with vLLM's own priorities."""
    return engines["stock_engine"]


def patched_engine(folder: Path) -> RunningEngine:
    return RunningEngine(folder, *SMALL)


def unpatched_engine(folder: Path) -> RunningEngine:
    model = ensure_tiny_model(folder / "tiny")
    return RunningEngine(
        folder,
        *("--served-model-name", "tiny", "--load-format", "dummy", "--enforce-eager", "--block-size", "32"),
        # In one process, as `justitia engine tiny` is: a start imports vLLM once less.
        *("--distributed-executor-backend", "vllm.v1.executor.uniproc_executor.UniProcExecutor"),
        *SMALL,
        module=("vllm.entrypoints.openai.api_server", "--model", str(model), "--scheduling-policy", "priority"),
        # With its development routes it tells its policy.
        variables={"VLLM_SERVER_DEV_MODE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"},
    )


@pytest.fixture(scope="session")
def vllm_config(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if os.environ.get("CI") is None:
        pytest.importorskip("vllm", reason="the engine is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # vLLM's imports warn of their own affairs
        from vllm.engine.arg_utils import EngineArgs

        folder = ensure_tiny_model(Path(tmp_path_factory.mktemp("model")) / "tiny")
        return EngineArgs(
            model=str(folder), load_format="dummy", scheduling_policy="priority", max_model_len=4096, block_size=32
        ).create_engine_config()


@pytest.fixture(scope="session")
def structured_output_manager(vllm_config: Any) -> Any:
    from vllm.v1.structured_output import StructuredOutputManager

    return StructuredOutputManager(vllm_config)
