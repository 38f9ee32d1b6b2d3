"""A contender that stands ready: installed, started in front of the upstream, and its first call answered."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gateway.compiled import Native
from benchmarks.gateway.contenders import Contender, Place
from benchmarks.gateway.installed import installed
from benchmarks.gateway.processes import Cores, NotStarted, free_port, started, wait_for_answer, wait_for_listener
from benchmarks.gateway.request import request


@dataclass(frozen=True, slots=True)
class Bench:
    """What all contenders of one run share."""

    folder: Path
    native: Native
    cores: Cores
    upstream_port: int


@dataclass(frozen=True, slots=True)
class Standing:
    port: int
    process_id: int | None
    """None for the upstream alone."""
    headers: Mapping[str, str]

    def request(self, model: str, max_tokens: int = 32, is_stream: bool = False) -> bytes:
        return request(self.port, model, max_tokens, is_stream, self.headers)


@contextlib.contextmanager
def standing(
    contender: Contender | None, bench: Bench, environment: Mapping[str, str] | None = None
) -> Iterator[Standing]:
    """None is the upstream alone. Raises NotInstalled or NotStarted."""
    if contender is None:
        yield Standing(bench.upstream_port, None, {})
        return
    place = Place(
        port=free_port(),
        upstream=f"http://127.0.0.1:{bench.upstream_port}",
        installed=installed(contender.name, contender.packages),
        folder=Path(tempfile.mkdtemp(prefix="place-", dir=bench.folder)),
        metrics_port=free_port(),
        redis_port=free_port(),
    )
    log, headers = place.folder / "log", contender.headers(place)
    variables = {**contender.environment(place), **(environment or {})}
    with (
        _redis(place, bench.cores.load) if contender.needs_redis else contextlib.nullcontext(),
        started(contender.command(place), log, bench.cores.contender, variables) as process,
    ):
        call = request(place.port, "burst-32", headers=headers)
        wait_for_answer(process, log, place.port, call, contender.start_timeout_s)
        yield Standing(place.port, process.pid, headers)


@contextlib.contextmanager
def _redis(place: Place, core: int | None) -> Iterator[None]:
    """One of our own, on the load's core: it stands elsewhere in production too."""
    program = shutil.which("redis-server")
    if program is None:
        raise NotStarted("no redis-server here: apt-get install redis-server")
    options = ("--bind", "127.0.0.1", "--port", str(place.redis_port), "--save", "", "--appendonly", "no")
    with started([program, *options], place.folder / "redis.log", core):
        wait_for_listener(place.redis_port)
        yield
