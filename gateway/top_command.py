"""`justitia top`: what `/console` shows, in a terminal. Live until q or Ctrl-C; once where nobody watches.

Exit codes: 0 shown, 1 the gateway did not answer, or wants another key, 2 what was asked for makes no sense; 130 and
143: stopped by Ctrl-C and SIGTERM. In a live display a gateway that does not answer is waited for.
"""

import argparse
import json
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from shutil import get_terminal_size
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import httpx

from gateway.argument_types import positive_float
from gateway.top_screen import COLOURED, PLAIN, Answer, printable, screen
from gateway.top_terminal import Key, LiveTerminal

_EXAMPLE = """examples:
  justitia top
  justitia top --url http://gateway:8080 --once
  justitia top --once --json | jq .calls_waiting

The key is an API key, which shows its tenant's applications, or the operator's token, which shows everybody's. It is
looked for in --key, JUSTITIA_KEY and JUSTITIA_SERVER__OPERATOR_TOKEN; who says it by --key shows it to everybody on
this machine. In the live display the arrow keys choose an application and q ends.
"""

_KEY_VARIABLES = ("JUSTITIA_KEY", "JUSTITIA_SERVER__OPERATOR_TOKEN")

_PATIENCE_S = 5.0
_MAX_ROWS = 500
_IN_A_PIPE = 120
"""Columns, where there is no terminal."""


class NoAnswer(Exception):
    """Why, in a line."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "top",
        help="watch applications, engines and what waits, in the terminal",
        description="Show who is served in which order, who waits and why, and how full the engines are.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--url", type=_url, default="http://127.0.0.1:8080", help="the gateway (default: %(default)s)")
    parser.add_argument("--key", help="API key or operator's token")
    parser.add_argument("--application", metavar="[TENANT/]ID", help="say why this one waits")
    parser.add_argument("--filter", default="", metavar="TEXT", help="only those with this in tenant, name or kind")
    parser.add_argument("--interval", type=positive_float, default=1.0, metavar="S", help="seconds between two looks")
    parser.add_argument("--once", action="store_true", help="print it once and end; so in a pipe")
    parser.add_argument("--json", action="store_true", help="print the gateway's answer once, as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    key = args.key or next((os.environ[name] for name in _KEY_VARIABLES if os.environ.get(name)), None)
    if key is not None and not (key.isascii() and key.isprintable()):
        print("justitia top: a key is printable ASCII", file=sys.stderr)
        return 2
    source = Source(args.url, key, args.filter, args.application)
    try:
        if args.once or args.json or not (sys.stdout.isatty() and sys.stdin.isatty()):
            return _once(source, as_json=args.json)
        return _live(source, args.interval)
    except BrokenPipeError:
        # The reader has left (`| head`): nobody is there to be told. Without this, Python complains at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise argparse.ArgumentTypeError(f"{text!r} is no http(s) URL")
    return text.rstrip("/").removesuffix("/v1")


# --- asking ---------------------------------------------------------------------------------------------------------


@dataclass
class Source:
    """The gateway, and what of it is asked."""

    url: str
    key: str | None
    text: str
    chosen: str | None
    """`tenant/id`; a bare id is the asker's own, or nobody's who has a key."""

    def ask(self, client: httpx.Client) -> Answer:
        """Raises NoAnswer."""
        query: dict[str, str | int] = {"limit": _MAX_ROWS, "text": self.text}
        if self.chosen is not None:
            query["application"] = self.chosen if "/" in self.chosen else f"anonymous/{self.chosen}"
        headers = {} if self.key is None else {"authorization": f"Bearer {self.key}"}
        try:
            answer = client.get(f"{self.url}/v1/overview", params=query, headers=headers)
            content = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NoAnswer(f"{self.url} does not answer: {printable(error) or type(error).__name__}") from error
        except ValueError as error:
            raise NoAnswer(f"{self.url} is no Justitia gateway") from error
        if answer.status_code == 200 and isinstance(content, dict) and "applications" in content:
            return self._with_own_tenant(content, client)
        raise NoAnswer(_complaint(self.url, answer.status_code, content, has_key=self.key is not None))

    def _with_own_tenant(self, content: dict[str, Any], client: httpx.Client) -> Answer:
        """A bare id is one of the tenant's whose key was shown."""
        if self.chosen is not None and "/" not in self.chosen:
            self.chosen = f"{content['tenant'] or 'anonymous'}/{self.chosen}"
            if content["chosen"] is None:
                return self.ask(client)
        return content


def _complaint(url: str, status: int, content: object, *, has_key: bool) -> str:
    if status == 401:
        return f"{url}: {'this key is not known there' if has_key else 'a key is needed (--key or JUSTITIA_KEY)'}"
    detail = content.get("error") if isinstance(content, Mapping) else None
    message = detail.get("message") if isinstance(detail, Mapping) else None
    return f"{url}: HTTP {status}{f', {printable(message):.200}' if message else ''}"


# --- showing --------------------------------------------------------------------------------------------------------


def _once(source: Source, *, as_json: bool) -> int:
    with httpx.Client(timeout=_PATIENCE_S) as client:
        try:
            answer = source.ask(client)
        except NoAnswer as error:
            print(f"justitia top: {error}", file=sys.stderr)
            return 1
    if as_json:
        print(json.dumps(answer))
        return 0
    is_terminal = sys.stdout.isatty()
    style = COLOURED if is_terminal and not os.environ.get("NO_COLOR") else PLAIN
    width = get_terminal_size((_IN_A_PIPE, 24)).columns
    print("\n".join(screen(answer, width=width, height=None, style=style, chosen=source.chosen)), flush=True)
    return 0


@dataclass
class _Latest:
    """What the asking thread last heard."""

    answer: Answer | None = None
    heard_at: float = field(default_factory=monotonic)
    trouble: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)


def _live(source: Source, interval_s: float) -> int:
    latest, asks_again, ended = _Latest(), threading.Event(), threading.Event()
    asking = threading.Thread(
        target=_ask_for_ever, args=(source, interval_s, latest, asks_again, ended), name="asking", daemon=True
    )
    with LiveTerminal() as terminal:
        asking.start()
        try:
            while True:
                with latest.lock:
                    answer, trouble, silent_s = latest.answer, latest.trouble, monotonic() - latest.heard_at
                terminal.show(_lines(source, answer, trouble, silent_s, terminal))
                key = terminal.key()
                if key is Key.QUIT:
                    return 0
                if key in (Key.UP, Key.DOWN, Key.NONE_CHOSEN) and answer is not None:
                    source.chosen = _neighbour(answer, source.chosen, key)
                    asks_again.set()
        finally:
            ended.set()
            asks_again.set()


def _lines(source: Source, answer: Answer | None, trouble: str, silent_s: float, terminal: LiveTerminal) -> list[str]:
    style = PLAIN if os.environ.get("NO_COLOR") else COLOURED
    width, height = terminal.size()
    bottom = f"{style.quiet}{'q ends, ↑ ↓ choose an application, Esc none'[:width]}{style.end}"
    if trouble:
        bottom = f"{style.bad}{f'no answer for {silent_s:.0f} s: {trouble}'[:width]}{style.end}"
    if answer is None:
        return ["" if trouble else f"asking {source.url} …"[:width], bottom][-height:]
    lines = screen(answer, width=width, height=height - 1, style=style, chosen=source.chosen)
    return [*lines, *[""] * (height - 1 - len(lines)), bottom]


def _neighbour(answer: Answer, chosen: str | None, key: Key) -> str | None:
    names = [f"{row['tenant']}/{row['id']}" for row in answer["applications"]]
    if key is Key.NONE_CHOSEN or not names:
        return None
    if chosen not in names:
        return names[0]
    return names[min(len(names) - 1, max(0, names.index(chosen) + (1 if key is Key.DOWN else -1)))]


def _ask_for_ever(
    source: Source, interval_s: float, latest: _Latest, asks_again: threading.Event, ended: threading.Event
) -> None:
    with httpx.Client(timeout=_PATIENCE_S) as client:
        while not ended.is_set():
            asks_again.clear()
            try:
                answer = source.ask(client)
            except NoAnswer as error:
                with latest.lock:
                    latest.trouble = str(error)
            else:
                with latest.lock:
                    latest.answer, latest.heard_at, latest.trouble = answer, monotonic(), ""
            asks_again.wait(interval_s)
