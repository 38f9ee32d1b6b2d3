"""`justitia serve`: the gateway as a server process, or as several."""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from gateway import logs
from gateway.fairness.policies import POLICY_NAMES
from gateway.key_place import make_key_watch, why_not_open
from gateway.settings import ImpossibleSetting, Settings, load_settings
from gateway.stores.key_book import UnusableKeys
from gateway.tracing.config import tracing_config

_EXAMPLE = """example:
  justitia serve --engine http://127.0.0.1:8000
  justitia serve --engine http://gpu1:8000 --engine http://gpu2:8000 --redis redis://127.0.0.1:6379/0
  justitia serve --engine http://gpu1:8000 --redis redis://127.0.0.1:6379/0 --workers 4

Everything else is set by JUSTITIA_… in the environment or by --config FILE (TOML); see docs/operations.md.
"""


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
    parser.add_argument("--workers", type=int, metavar="N", help="processes that serve (default: 1); more need --redis")
    parser.add_argument(
        "--open", action="store_true", default=None, help="let everybody in as long as no API key exists"
    )
    parser.add_argument("--policy", choices=POLICY_NAMES, help="order of calls (default: justitia)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings as TOML")
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    parser.add_argument("--log-format", choices=("text", "json"), help="lines of the log (default: text)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        settings = load_settings(os.environ, args.config, _flags(args))
        tracing_config(settings.tracing, os.environ)
    except ImpossibleSetting as error:
        print(f"justitia serve: {error}", file=sys.stderr)
        return 2
    if (why := _why_not(settings) or asyncio.run(_why_not_with_these_keys(settings))) is not None:
        print(f"justitia serve: {why}", file=sys.stderr)
        return 2
    logs.set_up(args.log_level, settings.logs.format)
    # Only now, and only what is needed: the parent of workers serves nothing itself.
    if settings.server.workers > 1:
        from gateway import workers

        return workers.run(settings, args.log_level)
    from gateway import server

    return server.run(settings)


def _why_not(settings: Settings) -> str | None:
    """What keeps these settings from being served, and what to do."""
    if not settings.engines.urls:
        return "no engine: say --engine URL (or JUSTITIA_ENGINES__URLS)"
    if settings.server.workers > 1 and settings.store.redis_url is None:
        return (
            f"{settings.server.workers} workers would not share their state: say --redis URL "
            "(or JUSTITIA_STORE__REDIS_URL), or --workers 1"
        )
    return None


async def _why_not_with_these_keys(settings: Settings) -> str | None:
    try:
        watch = make_key_watch(settings)
    except ValueError as error:
        return f"setting store.redis_url: {error}"
    try:
        await watch.start()
        return why_not_open(settings.server.host, settings.tenants, watch.has_stored_keys)
    except UnusableKeys as error:
        return str(error)
    finally:
        await watch.aclose()


def _flags(args: argparse.Namespace) -> dict[str, dict[str, object]]:
    given: dict[str, dict[str, object]] = {
        "server": {"host": args.host, "port": args.port, "workers": args.workers},
        "engines": {"urls": args.engine},
        "store": {"redis_url": args.redis},
        "scheduling": {"policy": args.policy},
        "tenants": {"open": args.open},
        "logs": {"format": args.log_format},
    }
    groups = {
        group: {name: value for name, value in flags.items() if value is not None} for group, flags in given.items()
    }
    return {group: flags for group, flags in groups.items() if flags}
