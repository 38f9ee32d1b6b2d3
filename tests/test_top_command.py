"""`justitia top`: what it prints, and that it leaves a terminal as it found it."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from gateway import cli
from gateway.settings import load_settings
from gateway.top_screen import COLOURED, amount, bar, fitted, printable, reason, screen, seconds
from tests.http.listeners import gateway_beside

TOKEN = "operator-token-0123456789"
NOBODY = "http://127.0.0.1:9"
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


# --- figures and lines ---


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (7, "7"), (0.25, "0.25"), (42, "42"), (999, "999"), (999.6, "1k"), (1234, "1.23k"), (56_789, "56.8k"),
     (100_000, "100k"), (999_999, "1M"), (12_300_000, "12.3M"), (4.5e9, "4.50G"), (2e12, "2T"), (-1500, "-1.50k")],
)  # fmt: skip
def test_amounts(value: float, text: str) -> None:
    assert amount(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.0 s"), (3.14, "3.1 s"), (9.96, "10 s"), (99, "99 s"), (120, "2 min"), (5400, "90 min"), (7200, "2 h"),
     (86_400 * 9, "9 days")],
)  # fmt: skip
def test_times(value: float, text: str) -> None:
    assert seconds(value) == text


def test_bars() -> None:
    assert [bar(share, 4) for share in (-1, 0, 0.5, 1, 9)] == ["░░░░", "░░░░", "██░░", "████", "████"]


def test_text_fits_its_column_whatever_it_is() -> None:
    assert fitted("abc", 5) == "abc  "
    assert fitted("abc", 5, right=True) == "  abc"
    assert fitted("abcdef", 4) == "abc…"
    assert fitted("日本語", 4) == "日… "  # each takes two columns
    assert fitted("e\u0301e\u0301", 2) == "e\u0301e\u0301"  # an accent takes none
    assert fitted("abc", 0) == ""


def test_nothing_of_a_name_steers_the_terminal() -> None:
    hostile = "\x1b[2J\x07a\u202eb\nc\x9b31m"
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e]", printable(hostile))
    row = _row(1, id=hostile, tenant=hostile, kind=hostile, hold=hostile, calls_waiting=1)
    answer = _answer(row, version=hostile, policy=hostile, tenant=None, store=hostile)
    answer["engines"][0] |= {"name": hostile, "mode": hostile}
    chosen = {"application": row, "ahead": [row], "calls_ahead": 1, "num_ahead": 1, "num_ahead_of_others": 0}
    answer["chosen"] = chosen | {"work_ahead": 1.0, "limits": _LIMITS}
    for ahead in answer["chosen"]["ahead"]:
        ahead["remaining_cost"] = 1.0
    for line in screen(answer, width=120, height=None, chosen=f"{hostile}/{hostile}"):
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e]", line)


_LIMITS = {"max_running_calls": 2, "running_calls": 2, "quota_wait_s": 75.0}


def _row(position: int, **fields: object) -> dict[str, Any]:
    row = {
        "position": position, "tenant": "anonymous", "id": f"app-{position}", "kind": "chat", "weight": 1000,
        "predicted_cost": 1000.0, "service": 250.0, "virtual_start": 0.0, "virtual_finish_time": 1000.0 * position,
        "calls_waiting": 0, "calls_running": 0, "calls_waiting_inside": 0, "calls_ended": 0, "hold": "nothing",
        "engines": {}, "expected_wait_s": None, "expected_finish_s": 12.0,
    }  # fmt: skip
    return row | fields


def _answer(*rows: Mapping[str, Any], **fields: object) -> dict[str, Any]:
    engine = {
        "name": "127.0.0.1:8000", "mode": "patched", "models": ["m"], "kv_capacity_tokens": 8000,
        "kv_used_tokens": 2000,
        "max_running_calls": 8, "num_running": 2, "num_waiting": 1, "preemptions": 0, "service_rate": 12_000.0,
        "runs": [], "other_calls": 0,
    }  # fmt: skip
    answer = {
        "version": "1", "policy": "justitia", "workers": 1, "tenant": None, "seen_by": "this_machine",
        "virtual_time": 50.0, "service_rate": 12_000.0, "store": "up", "store_kind": "memory", "calls_waiting": 3,
        "calls_running": 2, "num_applications": len(rows), "num_own": len(rows), "num_matching": len(rows),
        "num_backlogged": 0, "is_cut": False, "engines": [engine], "applications": list(rows), "chosen": None,
    }  # fmt: skip
    return answer | fields


def test_the_screen_says_what_the_answer_says() -> None:
    rows = (
        _row(1, calls_running=2, service=2000.0),
        _row(2, calls_waiting=3, hold="order", expected_wait_s=4.0, tenant="alice"),
        _row(3, calls_running=1, calls_waiting_inside=1),
        _row(4, expected_finish_s=None),
    )
    text = "\n".join(screen(_answer(*rows), width=130, height=None))
    assert "4 applications · 3 calls waiting · 2 running · 12k token·it/s · virtual time 50 · store up" in text
    assert re.search(r"127\.0\.0\.1:8000  █████░{15}  25% of 8k KV tokens · 2 running, 1 waiting inside", text)
    one, two, three, four = text.splitlines()[-4:]
    assert re.search(r"1  app-1 .* 200% of 1k .* runs +late$", one)
    assert re.search(r"2  alice/app-2 .*██░░░░░░░░  25% of 1k .* 3  waits its turn ~4\.0 s +12 s$", two)
    assert re.search(r"waits inside", three)
    assert re.search(r"between calls +–$", four)


@pytest.mark.parametrize("width", [1, 20, 40, 57, 80, 100, 131, 400])
@pytest.mark.parametrize("height", [1, 3, 10, 24])
def test_it_fits_every_terminal(width: int, height: int) -> None:
    answer = _answer(*(_row(n, tenant="some-tenant", id="x" * 128) for n in range(1, 40)))
    lines = screen(answer, width=width, height=height, style=COLOURED)
    assert len(lines) <= height
    assert all(len(ESCAPE.sub("", line)) <= width for line in lines)


def test_what_does_not_fit_is_counted() -> None:
    answer = _answer(*(_row(n) for n in range(1, 40)), num_matching=80)
    lines = screen(answer, width=100, height=24)
    shown = sum(" app-" in line for line in lines)
    assert lines[-1] == f"and {80 - shown} more"
    assert "and 7 applications of others" in screen(
        _answer(_row(8), num_applications=8, num_own=1), width=99, height=24
    )
    assert "no application is open" in screen(_answer(), width=99, height=24)


def test_an_engine_that_is_down_and_a_store_that_is_away() -> None:
    answer = _answer(store="down")
    answer["engines"][0] |= {"mode": "down", "kv_used_tokens": None}
    lines = screen(answer, width=200, height=None, style=COLOURED)
    assert any(line.endswith("\x1b[31mdoes not answer\x1b[0m") for line in lines)
    assert any(line.startswith("\x1b[31m") and "store down" in line for line in lines)


@pytest.mark.parametrize(
    ("hold", "said"),
    [("order", "7 waiting calls"), ("tenant_cap", "2 of 2 calls run"), ("quota", "refused for 75 s"),
     ("no_engine", "no engine"), ("capacity", "no engine has room"), ("nothing", "between calls")],
)  # fmt: skip
def test_every_reason_is_a_sentence(hold: str, said: str) -> None:
    assert said in reason({"application": _row(3, hold=hold), "calls_ahead": 7, "limits": _LIMITS})


def test_why_one_waits_and_who_is_ahead() -> None:
    row = _row(3, hold="order", calls_waiting=1)
    ahead = [_row(1, remaining_cost=750.0), _row(2, remaining_cost=50.0)]
    chosen = {
        "application": row,
        "calls_ahead": 2,
        "ahead": ahead,
        "num_ahead": 2,
        "work_ahead": 800.0,
        "limits": _LIMITS,
    }
    lines = screen(
        _answer(row, chosen={**chosen, "num_ahead_of_others": 1}), width=100, height=30, chosen="anonymous/app-3"
    )
    assert lines[-3:] == [
        "app-3: waits for its turn, 2 waiting calls rank before its own",
        "place 3 · 800 of work before it · 1 application of others ahead",
        "nearest ahead: 2 app-2 (50 left), 1 app-1 (750 left)",
    ]
    gone = screen(_answer(row), width=100, height=30, chosen="anonymous/gone")
    assert gone[-1] == "It is not among the open applications."


# --- the command ---


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with gateway_beside(
        tenants={"api_keys": {"key-of-alice": "alice", "key-of-bob": "bob"}, "stored_keys": False},
        server={"operator_token": TOKEN},
        applications={"idle_close_s": 3600.0},
    ) as (_, gateway, _):
        for name, who in (("hers", "alice"), ("his", "bob")):
            headers = {"authorization": f"Bearer key-of-{who}"}
            cost = 10 if who == "bob" else 99
            httpx.post(f"{gateway.url}/v1/applications", json={"id": name, "expected_cost": cost}, headers=headers)
        yield gateway.url


def top(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JUSTITIA_")}
    command = [sys.executable, "-m", "gateway.cli", "top", *flags]
    return subprocess.run(command, capture_output=True, text=True, env={**kept, **environment}, timeout=60, check=False)


def test_once_in_a_pipe_is_plain_text(url: str) -> None:
    shown = top("--url", url, "--once", "--key", TOKEN)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "\x1b" not in shown.stdout
    assert re.search(r"\n    1  bob/his .*\n    2  alice/hers", shown.stdout)


def test_a_pipe_without_once_is_no_place_to_be_live(url: str) -> None:
    assert top("--url", url, JUSTITIA_KEY=TOKEN).stdout.count("APPLICATION") == 1


def test_json_is_the_gateways_answer(url: str) -> None:
    answer = json.loads(top("--url", url, "--json", "--filter", "his", JUSTITIA_SERVER__OPERATOR_TOKEN=TOKEN).stdout)
    assert [row["id"] for row in answer["applications"]] == ["his"]
    assert (answer["num_own"], answer["num_matching"]) == (2, 1)


def test_a_tenant_sees_its_own(url: str) -> None:
    shown = top("--url", f"{url}/v1/", "--application", "hers", JUSTITIA_KEY="key-of-alice")
    assert "his" not in re.sub("this|hers", "", shown.stdout)
    assert "and 1 application of others" in shown.stdout
    assert "place 2 · 10 of work before it · 1 application of others ahead" in shown.stdout


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (("--url", NOBODY, "--once"), 1, f"{NOBODY} does not answer"),
        (("--url", "gateway:8080"), 2, "is no http(s) URL"),
        (("--url", NOBODY, "--key", "ümlaut"), 2, "a key is printable ASCII"),
        (("--interval", "0"), 2, "not a positive number"),
    ],
)
def test_what_cannot_be_shown_is_one_line(flags: tuple[str, ...], code: int, said: str) -> None:
    ended = top(*flags)
    assert ended.returncode == code
    assert said in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_a_key_that_is_missing_or_wrong(url: str) -> None:
    without, wrong = top("--url", url, "--once"), top("--url", url, "--once", "--key", "wrong")
    assert (without.returncode, wrong.returncode) == (1, 1)
    assert "a key is needed (--key or JUSTITIA_KEY)" in without.stderr
    assert "this key is not known there" in wrong.stderr


def test_who_reads_no_further_ends_it_quietly(url: str) -> None:
    command = f"{sys.executable} -m gateway.cli top --url {url} --once --key {TOKEN} | head -c 1"
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stderr == ""


def test_a_variable_of_top_does_not_stop_a_gateway() -> None:
    load_settings({"JUSTITIA_KEY": "anything"})


def test_the_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["top", "--help"])
    assert "justitia top --url http://gateway:8080 --once" in capsys.readouterr().out


# --- the terminal ---


class Screen:
    """`justitia top` on a pseudo-terminal of its own."""

    def __init__(self, *flags: str, columns: int = 100, lines: int = 24) -> None:
        self.master, self._slave = pty.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(self._slave)
        self.text = ""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JUSTITIA_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", "top", *flags],
            stdin=self._slave,
            stdout=self._slave,
            stderr=subprocess.PIPE,
            env={**kept, "JUSTITIA_KEY": TOKEN, "TERM": "xterm"},
            preexec_fn=self._own_terminal,
        )

    def _own_terminal(self) -> None:
        os.setsid()
        fcntl.ioctl(self._slave, termios.TIOCSCTTY, 0)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def shows(self, wanted: str, timeout_s: float = 30.0) -> None:
        """Until it has written this since the last time."""
        until = time.monotonic() + timeout_s
        while wanted not in ESCAPE.sub("", self.text):
            assert time.monotonic() < until, f"{wanted!r} is not in {self.text!r}"
            if select.select([self.master], [], [], 0.2)[0]:
                self.text += os.read(self.master, 65536).decode("utf-8", "replace")
        self.seen, self.text = self.text, ""

    def ended(self) -> int:
        """Its exit code; what it still wrote is in `text`."""
        code = self.process.wait(20)
        while select.select([self.master], [], [], 0.2)[0]:
            self.text += os.read(self.master, 65536).decode("utf-8", "replace")
        return code

    def is_as_before(self) -> bool:
        return termios.tcgetattr(self._slave) == self.before and self.text.endswith("\x1b[?25h\x1b[?1049l")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()
        for end in (self.master, self._slave):
            os.close(end)


@contextmanager
def live(*flags: str, **size: int) -> Iterator[Screen]:
    screen = Screen(*flags, **size)
    try:
        yield screen
    finally:
        screen.close()


@pytest.mark.parametrize(
    ("way", "code"), [(b"q", 0), (b"\x03", 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_it_leaves_the_terminal_as_it_was(url: str, way: bytes | signal.Signals, code: int) -> None:
    with live("--url", url) as screen:
        screen.shows("alice/hers")
        assert screen.seen.startswith("\x1b[?1049h\x1b[?25l")
        if isinstance(way, bytes):
            screen.press(way)
        else:
            screen.process.send_signal(way)
        assert screen.ended() == code
        assert screen.is_as_before()


def test_the_arrow_keys_choose_an_application(url: str) -> None:
    with live("--url", url) as screen:
        screen.shows("alice/hers")
        screen.press(b"\x1b[B")
        screen.shows("bob/his: between calls")
        screen.press(b"\x1b[B")
        screen.shows("alice/hers: between calls")
        screen.press(b"\x1b[A")
        screen.shows("bob/his: between calls")
        screen.press(b"q")
        assert screen.ended() == 0


def test_it_follows_the_size_of_the_terminal(url: str) -> None:
    with live("--url", url) as screen:
        screen.shows("DONE IN")
        screen.resize(40, 12)
        screen.shows("alice/hers")
        assert "\x1b[2J" in screen.seen
        assert "APPLICATION" in screen.seen
        assert "DONE IN" not in screen.seen  # there is no room for it
        screen.press(b"q")
        assert screen.ended() == 0


def test_stopped_and_continued_it_gives_the_terminal_back_meanwhile(url: str) -> None:
    with live("--url", url) as screen:
        screen.shows("alice/hers")
        screen.press(b"\x1a")
        _, status = os.waitpid(screen.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert termios.tcgetattr(screen._slave) == screen.before
        screen.process.send_signal(signal.SIGCONT)
        screen.shows("alice/hers")
        screen.press(b"q")
        assert screen.ended() == 0
        assert screen.is_as_before()


def test_a_gateway_that_does_not_answer_is_waited_for() -> None:
    with live("--url", NOBODY) as screen:
        screen.shows("no answer for")
        screen.press(b"q")
        assert screen.ended() == 0
        assert screen.is_as_before()
