"""`justitia serve --workers 2` as an operator starts it: real processes, a real Redis, a scripted engine."""

import asyncio
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx
import pytest
from redis import Redis

from gateway.settings import Settings, load_settings
from gateway.workers import Workers, listen, run
from tests.fakes.engine import COMPLETION, FakeVllm, answers, hangs, waits_for
from tests.http.gateways import until

CALL = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}
_PATIENCE_S = 60.0
"""For what takes two seconds where nobody else wants the cores: a start of Python and all that it imports."""


class Serving:
    """The parent process, and its workers by their numbers."""

    def __init__(self, process: Process, log: Path, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def url(self) -> str:
        found = re.search(r"workers listen on (http://\S+)", self.log)
        assert found is not None, self.log
        return found.group(1)

    def worker(self, number: int) -> int:
        """Its process."""
        return next(pid for pid, command in self._children() if command[2:4] == ["gateway.worker", str(number)])

    def _children(self) -> list[tuple[int, list[str]]]:
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        pids = [int(pid) for task in tasks for pid in task.read_text().split()]
        return [(pid, Path(f"/proc/{pid}/cmdline").read_text().split("\0")) for pid in pids]

    async def call(self, application: str = "a") -> httpx.Response:
        """Over a connection of its own: any worker may take it."""
        async with httpx.AsyncClient(base_url=self.url, timeout=_PATIENCE_S) as client:
            return await client.post(f"/apps/{application}/v1/chat/completions", json=CALL)

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.url, timeout=_PATIENCE_S) as client:
            return await client.get(path)

    async def metric(self, name: str) -> float:
        lines = (await self.get("/metrics")).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(rf"justitia_{name}[ {{]", line))

    def num_logged(self, text: str) -> int:
        return len(re.findall(text, self.log))


@asynccontextmanager
async def serving(folder: Path, engine: FakeVllm, redis_url: str) -> AsyncIterator[Serving]:
    """Two workers, both serving; they keep their temporary files in `folder`/tmp."""
    log, temporary = folder / "log", folder / "tmp"
    temporary.mkdir()
    patient = {"JUSTITIA_STORE__TIMEOUT_S": "10", "JUSTITIA_ENGINES__STATE_TIMEOUT_S": "10"}
    quick = {"JUSTITIA_APPLICATIONS__SWEEP_INTERVAL_S": "0.1", "JUSTITIA_ENGINES__IDLE_POLL_INTERVAL_S": "0.1"}
    prefix = {"JUSTITIA_STORE__PREFIX": folder.name}
    flags = ("--port", "0", "--workers", "2", "--engine", engine.url, "--redis", redis_url)
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway.cli", "serve", *flags),
            env={**os.environ, **patient, **quick, **prefix, "TMPDIR": str(temporary)},
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
        )
    gateway = Serving(process, log, temporary)
    try:
        await until(lambda: process.returncode is not None or gateway.num_logged(r"worker \d serves") == 2, _PATIENCE_S)
        assert process.returncode is None, gateway.log
        yield gateway
    finally:
        if process.returncode is None:
            process.terminate()
            process.terminate()
        await process.wait()


@asynccontextmanager
async def standing_still(pid: int) -> AsyncIterator[None]:
    """The kernel offers every connection to both workers; this one does not take it."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
async def engine() -> AsyncIterator[FakeVllm]:
    async with FakeVllm() as fake:
        yield fake


@pytest.mark.redis
async def test_two_workers_are_one_gateway(tmp_path: Path, engine: FakeVllm, redis_url: str) -> None:
    async with serving(tmp_path, engine, redis_url) as gateway:
        # Both answer, and each answers for both.
        for other in (2, 1):
            async with standing_still(gateway.worker(other)):
                assert (await gateway.call()).status_code == 200
                assert await gateway.metric("calls_total") > 0  # and so it has counted it
        for other in (2, 1):
            async with standing_still(gateway.worker(other)):
                assert await gateway.metric("calls_total") == 2
                assert await gateway.metric("call_queue_seconds_count") == 2
                assert await gateway.metric("engine_up") == 1
                assert "pid=" not in (await gateway.get("/metrics")).text
                listed = (await gateway.get("/v1/applications")).json()["data"]
                assert len(listed) == 1
        with Redis.from_url(redis_url) as redis:
            assert len(list(redis.scan_iter(f"{{{tmp_path.name}}}:application:*"))) == 1

        # One is killed amid a call: its call breaks, it is forgotten, what it counted is not.
        engine.on_call = hangs
        victim = gateway.worker(1)
        async with standing_still(gateway.worker(2)):
            broken = asyncio.create_task(gateway.call())
            await asyncio.wait_for(engine.call_arrived(3), _PATIENCE_S)
        await until(lambda: has(gateway, "calls_running", 1), _PATIENCE_S)
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(httpx.TransportError):
            await broken
        engine.on_call = answers(COMPLETION)
        assert (await gateway.call()).status_code == 200  # by the other, long before there is a new one
        await until(lambda: gateway.num_logged("worker 1 serves") == 2, _PATIENCE_S)
        assert gateway.num_logged(r"worker 1 ended \(Killed\) and is replaced") == 1
        async with standing_still(gateway.worker(2)):
            assert (await gateway.call()).status_code == 200
            await until(lambda: has(gateway, "calls_total", 4), _PATIENCE_S)
            await until(lambda: has(gateway, "calls_running", 0), _PATIENCE_S)

        # Told to stop: what runs may finish, then nothing is left.
        gate = asyncio.Event()
        engine.on_call = waits_for(gate, answers(COMPLETION))
        last = asyncio.create_task(gateway.call())
        await asyncio.wait_for(engine.call_arrived(6), _PATIENCE_S)
        pids = [gateway.worker(1), gateway.worker(2)]
        gateway.process.terminate()
        await until(lambda: gateway.num_logged(r"worker \d .*draining") == 2, _PATIENCE_S)
        gate.set()
        assert (await last).status_code == 200
        assert await asyncio.wait_for(gateway.process.wait(), _PATIENCE_S) == 0, gateway.log
        assert not any(is_alive(pid) for pid in pids)
        assert list(gateway.folder.iterdir()) == []


@pytest.mark.redis
async def test_workers_end_with_their_parent(tmp_path: Path, engine: FakeVllm, redis_url: str) -> None:
    async with serving(tmp_path, engine, redis_url) as gateway:
        pids = [gateway.worker(1), gateway.worker(2)]
        gate = asyncio.Event()
        engine.on_call = waits_for(gate, answers(COMPLETION))
        last = asyncio.create_task(gateway.call())
        await asyncio.wait_for(engine.call_arrived(1), _PATIENCE_S)
        gateway.process.kill()
        await until(lambda: gateway.num_logged(r"worker \d .*draining") == 2, _PATIENCE_S)
        gate.set()
        assert (await last).status_code == 200
        await until(lambda: not any(is_alive(pid) for pid in pids), _PATIENCE_S)
        assert list(gateway.folder.iterdir()) == []


async def has(gateway: Serving, name: str, value: float) -> bool:
    return await gateway.metric(name) == value


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- the parent alone, with workers that are short programs -----------------------------------------------------------


def settings(**server: object) -> Settings:
    groups = {
        "server": {"workers": 2, "port": 0} | server,
        "engines": {"urls": ["http://gpu1:8000"], "token": "secret"},
        "store": {"redis_url": "redis://somewhere"},
        "learning": {"trains": True},
        "tenants": {"api_keys": {"key": "alice"}},
    }
    return load_settings({}, None, groups)


def program(text: str) -> tuple[str, ...]:
    """A worker: `number`, `folder` and `link` are what it was given."""
    given = (
        "import signal, socket, sys, time\n"
        "number, folder, link = sys.argv[1], sys.argv[2], socket.socket(fileno=int(sys.argv[4]))\n"
    )
    return (sys.executable, "-S", "-c", given + text)


async def test_a_worker_gets_the_settings_and_one_of_them_trains(tmp_path: Path) -> None:
    told = settings()
    notes = f"open('{tmp_path}/' + number, 'w').write(link.makefile().readline())\n"
    workers = Workers(told, "INFO", [], program(notes + "link.send(b'+')\nsignal.pause()"))
    running = asyncio.create_task(workers.run())
    await until(lambda: all((tmp_path / n).exists() and (tmp_path / n).read_text() for n in "12"), _PATIENCE_S)
    workers.stop()
    assert await asyncio.wait_for(running, _PATIENCE_S) == 0
    first, second = (Settings.model_validate_json((tmp_path / number).read_text()) for number in "12")
    assert first.model_dump() == told.model_dump()
    assert (second.learning.trains, second.tenants) == (False, told.tenants)


async def test_workers_that_cannot_start_end_the_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = tmp_path / "found"
    dies = (
        "import os\n"
        f"open('{found}', 'a').write(' '.join(sorted(os.listdir(folder))) + '\\n')\n"
        "for name in ('counter_1.db', 'gauge_livesum_1.db'): open(folder + '/' + name, 'w')\n"
        "sys.exit(7)"
    )
    workers = Workers(settings(workers=1), "INFO", [], program(dies))
    assert await asyncio.wait_for(workers.run(), _PATIENCE_S) == 1
    assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == [
        "worker 1 ended at its start 5 times (exit status 7): giving up"
    ]
    # Of the one before, its counters are found and its gauges are not.
    assert found.read_text().splitlines() == ["", *["counter_1.db"] * 4]


async def test_a_program_that_is_not_there_ends_the_whole(caplog: pytest.LogCaptureFixture) -> None:
    workers = Workers(settings(workers=1), "INFO", [], ("/no/such/program",))
    assert await asyncio.wait_for(workers.run(), _PATIENCE_S) == 1
    assert "giving up" in caplog.text


async def test_the_second_signal_kills(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nlink.send(b'+')\ntime.sleep(60)"
    workers = Workers(settings(), "INFO", [], program(deaf))
    running = asyncio.create_task(workers.run())
    await until(lambda: "worker 1 serves" in caplog.text and "worker 2 serves" in caplog.text, _PATIENCE_S)
    workers.stop()
    workers.stop()
    assert await asyncio.wait_for(running, _PATIENCE_S) == 1
    assert "worker 2 is killed" in caplog.text


async def test_a_worker_that_drains_for_ever_is_killed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.workers._CLOSING_S", 0.0)
    caplog.set_level("INFO")
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nlink.send(b'+')\ntime.sleep(60)"
    workers = Workers(settings(workers=1, drain_timeout_s=0.01), "INFO", [], program(deaf))
    running = asyncio.create_task(workers.run())
    await until(lambda: "worker 1 serves" in caplog.text, _PATIENCE_S)
    workers.stop()
    assert await asyncio.wait_for(running, _PATIENCE_S) == 1


def test_an_address_that_is_taken_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with closing(listen("127.0.0.1", 0)[0]) as taken:
        port = taken.getsockname()[1]
        assert run(settings(port=port), "INFO") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith(f"justitia serve: cannot listen on 127.0.0.1 port {port}: ")


def test_a_name_may_stand_for_several_addresses() -> None:
    listeners = listen("localhost", 0)
    assert {listener.family for listener in listeners} <= {socket.AF_INET, socket.AF_INET6}
    assert listeners
    for listener in listeners:
        listener.close()
