"""`justitia clock`: the virtual clock by hand. JSON lines of events on stdin, an answer a line on stdout.

    {"event": "arrive", "application": "a", "cost": 100, "weight": 1000}
    {"event": "serve", "service": 40}
    {"event": "revise", "application": "a", "cost": 250}
    {"event": "close", "application": "a", "cost": 90}

Costs and service are KV token-iterations, weights thousandths (1000 if left out); `close` settles if it names a cost.
Both stores print the same bytes. Exit codes: 0 done, 1 the store cannot be reached, 2 a bad line.
"""

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TextIO, TypeVar

from gateway.errors import StoreUnavailable
from gateway.fairness.units import UNIT_WEIGHT, ApplicationId, KvTokenTime, Weight
from gateway.ports import Arrival, Standing, StateStore
from gateway.stores.memory import MemoryStore
from gateway.stores.redis import RedisStore

_EXAMPLE = """example:
  printf '%s\\n' '{"event": "arrive", "application": "a", "cost": 100}' '{"event": "serve", "service": 40}' \\
    | justitia clock
"""

_EVERYBODY = sys.maxsize

_T = TypeVar("_T")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "clock",
        help="the virtual clock by hand: events on stdin, answers on stdout",
        description=__doc__,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--store",
        type=_store_place,
        default="memory",
        metavar="memory|REDIS_URL",
        help="where the clock lives (default: memory); in Redis under keys of its own, removed at the end",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        return answer_lines(args.store, sys.stdin.buffer, sys.stdout, sys.stderr)
    except BrokenPipeError:
        # The reader has left (`| head`): nobody is there to be told. Without this, Python complains at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="justitia")
    add_parser(parser.add_subparsers(required=True))
    return run(parser.parse_args(argv))


def answer_lines(place: str, lines: Iterable[bytes], answers: TextIO, complaints: TextIO) -> int:
    """Answer every line of events with the clock at `place`; the exit code."""
    # A runner and a plain loop, not one coroutine: Ctrl-C then ends a wait for the next line.
    with asyncio.Runner() as runner:
        store = _open_store(place)
        try:
            runner.run(store.ping())
            return _answer_each(runner, store, lines, answers)
        except _BadLine as error:
            print(f"line {error.number}: {error.reason}", file=complaints)
            return 2
        except StoreUnavailable as error:
            print(error.message, file=complaints)
            return 1
        finally:
            runner.run(_discard(store))


class _BadLine(Exception):
    def __init__(self, number: int, reason: str) -> None:
        super().__init__(number, reason)
        self.number = number
        self.reason = reason


def _answer_each(runner: asyncio.Runner, store: StateStore, lines: Iterable[bytes], answers: TextIO) -> int:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            answer = runner.run(_answer(store, _parse(line)))
        except ValueError as error:
            raise _BadLine(number, str(error)) from error
        print(json.dumps(answer), file=answers, flush=True)
    return 0


def _parse(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # not UTF-8, not JSON, a number of thousands of digits, nested without end
        raise ValueError("not valid JSON") from None
    if not isinstance(event, dict):
        raise ValueError("not a JSON object")
    return event


def _refuse_constant(name: str) -> NoReturn:
    """JSON has no NaN and no Infinity; Python would read them."""
    raise ValueError(name)


async def _answer(store: StateStore, event: dict[str, Any]) -> dict[str, object]:
    """Raises ValueError with the reason if the event is a bad one."""
    standing: Standing | None = None
    match _field(event, "event", _text):
        case "serve":
            await store.serve(_field(event, "service", _amount))
        case "arrive":
            weight = _field(event, "weight", _whole) if "weight" in event else UNIT_WEIGHT
            arrival = Arrival(_name(event), "", "", _field(event, "cost", _amount), Weight(weight))
            standing = await store.arrive(arrival, 0.0)
        case "revise":
            standing = _known(event, await store.revise(_name(event), _field(event, "cost", _amount)))
        case "close":
            cost = _field(event, "cost", _amount) if "cost" in event else None
            standing = _known(event, await store.close(_name(event), cost))
        case unknown:
            raise ValueError(f"unknown event {json.dumps(unknown)}: arrive, serve, revise or close")
    snapshot = await store.snapshot(_EVERYBODY)
    return {
        "virtual_time": snapshot.virtual_time,
        "application": standing and standing.application.application_id,
        "virtual_finish_time": standing and standing.application.virtual_finish_time,
        "backlogged": snapshot.backlogged,
    }


def _known(event: dict[str, Any], standing: Standing | None) -> Standing:
    if standing is None:
        raise ValueError(f"unknown application {json.dumps(event['application'])}")
    return standing


def _name(event: dict[str, Any]) -> ApplicationId:
    return ApplicationId(_field(event, "application", _text))


def _field(event: dict[str, Any], name: str, read: Callable[[str, object], _T]) -> _T:
    if name not in event:
        raise ValueError(f'"{name}" is missing')
    return read(name, event[name])


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f'"{name}" must be a string')
    return value


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f'"{name}" must be a whole number')
    return value


def _amount(name: str, value: object) -> KvTokenTime:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f'"{name}" must be a number')
    try:
        return KvTokenTime(float(value))
    except OverflowError:
        raise ValueError(f'"{name}" is too large') from None


def _store_place(value: str) -> str:
    if value != "memory" and not value.startswith(("redis://", "rediss://", "unix://")):
        raise argparse.ArgumentTypeError(f"{value!r} is neither `memory` nor the URL of a Redis")
    return value


def _open_store(place: str) -> MemoryStore | RedisStore:
    if place == "memory":
        return MemoryStore()
    # Keys of its own, so that trying something out never disturbs a gateway on the same Redis.
    return RedisStore(place, prefix=f"{{justitia:clock:{secrets.token_hex(8)}}}", max_connections=1)


async def _discard(store: MemoryStore | RedisStore) -> None:
    if isinstance(store, RedisStore):
        with contextlib.suppress(StoreUnavailable):  # it said so already, and its keys time out
            await store.wipe()
    await store.aclose()


if __name__ == "__main__":
    sys.exit(main())
