"""Children end with their context, whatever they think of it."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from gateway.demo.processes import ChildFailed, child, free_port
from tests.http.gateways import until

STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
GRANDPARENT = f"""
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", {STUBBORN!r}], stdout=subprocess.PIPE)
grandchild.stdout.readline()
print(grandchild.pid, flush=True)
time.sleep(600)
"""

SERVER = """
import http.server, sys
class Answers(http.server.BaseHTTPRequestHandler):
    count = 0
    def do_GET(self):
        Answers.count += 1
        self.send_response(200 if Answers.count > 2 else 503)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answers).serve_forever()
"""


def is_alive(pid: int) -> bool:
    """Zombies, which wait for whoever adopted them, are not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def line_of(log: Path) -> str:
    text = log.read_text()
    return text.strip() if text.endswith("\n") else ""


async def test_a_stubborn_family_is_killed_whole(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with child("family", [sys.executable, "-c", GRANDPARENT], {}, log) as running:
        await until(lambda: line_of(log) != "", timeout_s=20)
        grandchild = int(line_of(log))
        assert is_alive(grandchild)
        await running.stop(grace_s=0.1)
        assert await running.ended() == -9
    await until(lambda: not is_alive(grandchild))


async def test_a_child_ends_with_its_context_also_on_cancellation(tmp_path: Path) -> None:
    async def hold() -> None:
        async with child(
            "sleeper", [sys.executable, "-c", "import time; time.sleep(600)"], {}, tmp_path / "log"
        ) as one:
            pids.append(one.pid)
            started.set()
            await asyncio.Event().wait()

    pids: list[int] = []
    started = asyncio.Event()
    task = asyncio.create_task(hold())
    await started.wait()
    assert is_alive(pids[0])

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not is_alive(pids[0])


async def test_ready_is_when_it_answers_200(tmp_path: Path) -> None:
    port = free_port()
    ticks: list[float] = []
    async with child("server", [sys.executable, "-c", SERVER, str(port)], {}, tmp_path / "log") as running:
        await running.until_ready(f"http://127.0.0.1:{port}/health", 20.0, ticks.append)
    assert len(ticks) >= 2
    assert ticks == sorted(ticks)


CRASH = """
print("starting")
try:
    raise ValueError("no memory")
except ValueError:
    import traceback; traceback.print_exc()
print("RuntimeError: something failed")
raise SystemExit(3)
"""


@pytest.mark.parametrize(
    ("program", "telling"),
    [
        (CRASH, "ValueError: no memory"),
        ("print('first'); print('last'); raise SystemExit(3)", "last"),
        ("raise SystemExit(3)", "no output"),
    ],
)
async def test_an_early_end_names_its_cause_and_the_log(tmp_path: Path, program: str, telling: str) -> None:
    argv = [sys.executable, "-u", "-c", program]
    async with child("the engine", argv, {}, tmp_path / "log") as running:
        with pytest.raises(ChildFailed) as failed:
            await running.until_ready("http://127.0.0.1:9/health", 20.0, lambda _: None)
    assert str(failed.value) == f'the engine ended with exit code 3; it said "{telling}"; its log: {tmp_path / "log"}'


async def test_too_late_is_a_failure(tmp_path: Path) -> None:
    async with child("slow", [sys.executable, "-c", "import time; time.sleep(600)"], {}, tmp_path / "log") as running:
        with pytest.raises(ChildFailed, match="slow was not ready after 0 s"):
            await running.until_ready("http://127.0.0.1:9/health", 0.0, lambda _: None)


async def test_its_environment_is_ours_and_more(tmp_path: Path) -> None:
    log = tmp_path / "log"
    argv = [sys.executable, "-c", "import os; print(os.environ['ADDED'], os.environ['PATH'])"]
    async with child("env", argv, {"ADDED": "yes"}, log) as running:
        await running.ended()
    assert line_of(log) == f"yes {os.environ['PATH']}"


def test_a_taken_port_is_passed_over() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) > port
    assert free_port(port) == port
