"""A real vLLM server with our patch, on the CPU, serving the tiny model: nothing about it is fake but its weights."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from gateway.demo.processes import free_port

TOKEN = "token-of-the-tests"
SMALL = ("--num-gpu-blocks-override", "65", "--max-model-len", "1024", "--max-num-seqs", "4")
"""64 blocks of 32 tokens beside the null block: memory runs out within seconds."""

_BLANKS = set("ĠĊĉč")
"""Space, line feed, tab and carriage return, as byte-level tokenizers write them."""

_START_TIMEOUT_S = 240.0
_STOP_TIMEOUT_S = 30.0


class RunningEngine:
    """`justitia engine tiny` in a process of its own, or another `module` that takes vLLM's flags. It begins to start
    when it is made; `ready` waits for it."""

    def __init__(
        self,
        folder: Path,
        *flags: str,
        module: Sequence[str] = ("gateway.engine_command", "tiny"),
        variables: Mapping[str, str] = {},
    ) -> None:
        self.trace_path = folder / "trace.jsonl"
        self._cache = folder / "cache"
        self._log_path = folder / "engine.log"
        self._ready = threading.Event()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {
            **os.environ,
            "XDG_CACHE_HOME": str(self._cache),
            "JUSTITIA_ENGINE_TOKEN": TOKEN,
            "JUSTITIA_ENGINE_TRACE": str(self.trace_path),
            # Responses can be continued, read and cancelled; it keeps them for good, which a test's engine may.
            "VLLM_ENABLE_RESPONSES_API_STORE": "1",
            **variables,
        }
        command = [
            sys.executable,
            "-m",
            *module,
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
        ]
        self._process = subprocess.Popen(
            [*command, *flags],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    def ready(self) -> "RunningEngine":
        if not self._ready.wait(_START_TIMEOUT_S) or self._process.poll() is not None:
            self.stop()
            raise AssertionError(f"the engine did not start:\n{self.log()[-4000:]}")
        return self

    def _read_log(self) -> None:
        assert self._process.stdout is not None
        with self._log_path.open("wb") as log:
            for line in self._process.stdout:
                log.write(line)
                log.flush()
                if b"Application startup complete" in line:
                    self._ready.set()
        self._ready.set()  # it ended, ready or not

    def client(self) -> httpx.AsyncClient:
        """A client that presents the token. vLLM closes what was idle for 5 s; this one is the first to do so."""
        return httpx.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=60.0,
            limits=httpx.Limits(max_connections=200, keepalive_expiry=2.0),
        )

    def mark(self) -> int:
        """Where the scheduler's trace ends now."""
        return self.trace_path.stat().st_size

    def events(self, since: int = 0) -> list[dict[str, Any]]:
        """The scheduler's trace so far, from a mark on."""
        with self.trace_path.open("rb") as trace:
            trace.seek(since)
            return [json.loads(line) for line in trace if line.endswith(b"\n")]

    def blank_tokens(self) -> list[int]:
        """Of the tiny model: those that are nothing but blanks, with which random weights fill JSON."""
        (tokenizer,) = self._cache.glob("justitia/tiny-*/tokenizer.json")
        vocabulary = json.loads(tokenizer.read_text())["model"]["vocab"]
        return [number for token, number in vocabulary.items() if set(token) <= _BLANKS]

    def log(self) -> str:
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    def stop(self) -> None:
        """As `docker stop` does: SIGTERM to the one process, then, if it must be, an end to its whole group."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._reader.join(_STOP_TIMEOUT_S)
        if self._process.stdout is not None:
            self._process.stdout.close()
