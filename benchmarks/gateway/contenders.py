"""Who is compared: how each is installed, started and called. One process each; ours beside its peers and its floor.

Every one is set up as its documentation says for one vLLM server behind it, without logs of single calls, retries at
their defaults. None of the peers keeps a fair queue.
"""

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gateway.installed import Packages
from benchmarks.gateway.request import NAME

MODELS = ("burst-32", "paced-20")
"""What the upstream serves. Their names say how it streams: 32 events at once, 20 events a second."""

_MANY = "8192"
"""More calls at once than are ever made; the Rust routers have limits of their own."""

_HERE = Packages("here", ())


@dataclass(frozen=True, slots=True)
class Place:
    """Where one start of a contender finds what it needs."""

    port: int
    upstream: str
    installed: Path
    folder: Path
    metrics_port: int
    redis_port: int


@dataclass(frozen=True, slots=True)
class Contender:
    name: str
    packages: Packages
    command: Callable[[Place], list[str]]
    headers: Callable[[Place], dict[str, str]] = lambda _: {}
    environment: Callable[[Place], Mapping[str, str]] = lambda _: {}
    rate: float = 200.0
    """Calls a second at which latency is taken."""
    holds_streams: bool = False
    """Whether it takes part in the thousands of streams held open."""
    needs_redis: bool = False
    start_timeout_s: float = 30.0
    is_ours: bool = field(default=False)


def _nginx(place: Place) -> list[str]:
    config = place.folder / "nginx.conf"
    config.write_text(f"""
daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 65536;
pid {place.folder}/nginx.pid; error_log stderr error;
events {{ worker_connections 32768; }}
http {{
  access_log off; tcp_nodelay on; client_body_buffer_size 1m; keepalive_requests 1000000000;
  client_body_temp_path {place.folder}/body; proxy_temp_path {place.folder}/proxy;
  fastcgi_temp_path {place.folder}/fastcgi; uwsgi_temp_path {place.folder}/uwsgi; scgi_temp_path {place.folder}/scgi;
  upstream engine {{ server {place.upstream.removeprefix("http://")}; keepalive 4096; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{place.port} backlog=4096;
    location / {{
      proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_read_timeout 600s;
    }}
  }}
}}
""")
    return [shutil.which("nginx") or "nginx", "-c", str(config), "-p", str(place.folder)]


def _vllm_router(place: Place) -> list[str]:
    return [str(place.installed / "bin" / "vllm-router"), *_router_flags(place), "--log-level", "warning"]


def _sglang_router(place: Place) -> list[str]:
    return [str(place.installed / "bin" / "sglang-router"), "launch", *_router_flags(place), "--log-level", "warn"]


def _smg(place: Place) -> list[str]:
    return [str(place.installed / "bin" / "smg"), "launch", *_router_flags(place), "--log-level", "warn"]


def _router_flags(place: Place) -> list[str]:
    """The three have one ancestor."""
    flags = {
        "--worker-urls": place.upstream,
        "--host": "127.0.0.1",
        "--port": str(place.port),
        "--prometheus-port": str(place.metrics_port),
        "--policy": "round_robin",
        "--max-concurrent-requests": _MANY,
        "--worker-startup-check-interval": "1",
    }
    return [part for flag in flags.items() for part in flag]


def _portkey(place: Place) -> list[str]:
    server = place.installed / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    return [shutil.which("node") or "node", str(server), f"--port={place.port}", "--headless"]


def _portkey_headers(place: Place) -> dict[str, str]:
    return {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{place.upstream}/v1"}


def _litellm(place: Place) -> list[str]:
    config = place.folder / "litellm.yaml"
    models = "\n".join(
        f'  - {{model_name: {name}, litellm_params: {{model: "openai/{name}", api_base: "{place.upstream}/v1",'
        f' api_key: "none"}}}}'
        for name in MODELS
    )
    config.write_text(f"model_list:\n{models}\nlitellm_settings: {{telemetry: false}}\n")
    program = str(place.installed / "bin" / "litellm")
    return [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(place.port), "--num_workers", "1"]


def _litellm_environment(_: Place) -> dict[str, str]:
    # Open, as ours is here: without a key of its own it starts only when told so.
    return {"LITELLM_LOG": "ERROR", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}


def _ours(place: Place) -> list[str]:
    return [sys.executable, "-m", "gateway.cli", "serve", "--engine", place.upstream, "--port", str(place.port)]


def _ours_with_redis(place: Place) -> list[str]:
    return [*_ours(place), "--redis", f"redis://127.0.0.1:{place.redis_port}/0"]


def _ours_environment(place: Place) -> dict[str, str]:
    root = Path(__file__).parents[2]
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"JUSTITIA_LEARNING__FOLDER": str(place.folder / "learnt"), "PYTHONPATH": os.pathsep.join(paths)}


def _named(_: Place) -> dict[str, str]:
    return {"x-justitia-application": NAME}


DIRECT = "direct"
"""The upstream alone: what all added latency is measured against."""

CONTENDERS = (
    Contender("nginx", Packages("system", ("nginx",)), _nginx, holds_streams=True),
    Contender("vllm-router", Packages("pip", ("vllm-router==0.1.17",)), _vllm_router, holds_streams=True),
    Contender("sglang-router", Packages("pip", ("sglang-router==0.3.2",)), _sglang_router, holds_streams=True),
    Contender("smg", Packages("pip", ("smg==1.13.0",)), _smg, holds_streams=True),
    Contender(
        "portkey",
        # Of hono's server from 1.14 on it gets answers whose headers it cannot change, and every stream fails (500).
        Packages("npm", ("@portkey-ai/gateway@1.15.2", "@hono/node-server@1.13.8")),
        _portkey,
        _portkey_headers,
    ),
    Contender(
        "litellm",
        Packages("pip", ("litellm[proxy]==1.106.2",)),
        _litellm,
        environment=_litellm_environment,
        rate=50.0,
        start_timeout_s=120.0,
    ),
    Contender("justitia", _HERE, _ours, _named, _ours_environment, holds_streams=True, is_ours=True),
    Contender("justitia, calls without a name", _HERE, _ours, environment=_ours_environment, is_ours=True),
    Contender("justitia, Redis", _HERE, _ours_with_redis, _named, _ours_environment, needs_redis=True, is_ours=True),
)
