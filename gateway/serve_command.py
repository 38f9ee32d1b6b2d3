"""`justitia serve`: the gateway as a server process."""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path
from types import FrameType

import uvicorn

from gateway import logs
from gateway.composition import Gateway, compose
from gateway.fairness.policies import POLICY_NAMES
from gateway.settings import ImpossibleSetting, Settings, load_settings

_EXAMPLE = """example:
  justitia serve --engine http://127.0.0.1:8000
  justitia serve --engine http://gpu1:8000 --engine http://gpu2:8000 --redis redis://127.0.0.1:6379/0 --host 0.0.0.0

Everything else is set by JUSTITIA_… in the environment or by --config FILE (TOML); see docs/operations.md.
"""

_KEEP_ALIVE_S = 75
"""Idle connections. Longer than any client's pool keeps them (httpx: 5 s, as uvicorn's default), so that the client is
the one to close and never sends into a connection that we are closing. nginx has the same."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "serve",
        help="run the gateway in front of one or more engines",
        description="Run the gateway: an OpenAI-compatible server that orders calls by application.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--engine", action="append", metavar="URL", help="a vLLM server; may be given several times")
    parser.add_argument("--redis", metavar="URL", help="shared state (default: in this process)")
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (default: 8080)")
    parser.add_argument("--policy", choices=POLICY_NAMES, help="order of calls (default: justitia)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings as TOML")
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        settings = load_settings(os.environ, args.config, _flags(args))
    except ImpossibleSetting as error:
        print(f"justitia serve: {error}", file=sys.stderr)
        return 2
    if not settings.engines.urls:
        print("justitia serve: no engine: say --engine URL (or JUSTITIA_ENGINES__URLS)", file=sys.stderr)
        return 2
    logs.set_up(args.log_level)
    # Uvicorn's choice of loop (uvloop where it is installed): it makes one only when it also runs it.
    with asyncio.Runner(loop_factory=uvicorn.Config(_serve).get_loop_factory()) as runner:
        return runner.run(_serve(settings))


def _flags(args: argparse.Namespace) -> dict[str, dict[str, object]]:
    given: dict[str, dict[str, object]] = {
        "server": {"host": args.host, "port": args.port},
        "engines": {"urls": args.engine},
        "store": {"redis_url": args.redis},
        "scheduling": {"policy": args.policy},
    }
    groups = {
        group: {name: value for name, value in flags.items() if value is not None} for group, flags in given.items()
    }
    return {group: flags for group, flags in groups.items() if flags}


class _Server(uvicorn.Server):
    """Uvicorn, but a stop signal first tells the dispatcher, so that queued calls are refused and not waited for."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway) -> None:
        super().__init__(config)
        self._gateway = gateway

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._gateway.dispatcher.begin_drain()
        super().handle_exit(sig, frame)


async def _serve(settings: Settings) -> int:
    # Uvicorn raises the signal once more when it has stopped, to end as if by it. A clean stop is our exit status 0.
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: None)
    gateway = compose(settings)
    config = uvicorn.Config(
        gateway.app,
        host=settings.server.host,
        port=settings.server.port,
        timeout_graceful_shutdown=int(settings.server.drain_timeout_s),
        timeout_keep_alive=_KEEP_ALIVE_S,
        log_config=None,
        access_log=False,
        server_header=False,
    )
    server = _Server(config, gateway)
    watch = asyncio.create_task(_stop_when_broken(gateway, server))
    try:
        await server.serve()
    except SystemExit:  # uvicorn's way to say that it could not listen; it has said why
        return 1
    finally:
        watch.cancel()
    return 1 if gateway.failed.is_set() or not server.started else 0


async def _stop_when_broken(gateway: Gateway, server: _Server) -> None:
    await gateway.failed.wait()
    server.handle_exit(signal.SIGTERM, None)
