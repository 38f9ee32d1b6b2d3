"""The gateway's benchmark: its own parts in C against each other, and what is made of the figures."""

import json
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gateway import profile, soak, tables
from benchmarks.gateway.__main__ import shown
from benchmarks.gateway.compiled import Native, built
from benchmarks.gateway.contenders import CONTENDERS, DIRECT
from benchmarks.gateway.installed import npm_package
from benchmarks.gateway.load import Load, LoadFailed, errors, run
from benchmarks.gateway.processes import Cores, NotStarted, planned, started, started_upstream, wait_for_answer
from benchmarks.gateway.request import NAME, request
from benchmarks.gateway.standing import Bench, Standing
from benchmarks.gateway.usage import cpu_s, descendants, parsed_stat, tree
from gateway.engines.stock import read_stock_state

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Native:
    return built(tmp_path_factory.mktemp("native"))


@pytest.fixture
def bench(native: Native, tmp_path: Path) -> Iterator[Bench]:
    cores = Cores(None, None, None)
    with started_upstream(native.upstream, tmp_path, cores.upstream) as port:
        yield Bench(tmp_path, native, cores, port)


def _answer(port: int, text: bytes) -> bytes:
    """To one request on a connection of its own, which the request asks to close."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(text)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def _get(port: int, path: str) -> bytes:
    head, _, body = _answer(port, f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()).partition(
        b"\r\n\r\n"
    )
    return body if head.startswith(b"HTTP/1.1 200 ") else head


# --- upstream and load ---


@needs_compiler
def test_the_upstream_is_a_vllm_to_our_gateway(bench: Bench) -> None:
    state = read_stock_state(_get(bench.upstream_port, "/metrics").decode(), "upstream")
    assert state.max_num_seqs > 2000
    assert state.free_kv_tokens > 0.9 * state.capacity_kv_tokens > 1e8
    models = json.loads(_get(bench.upstream_port, "/v1/models"))
    assert [model["id"] for model in models["data"]] == ["burst-32", "paced-20"]
    assert _get(bench.upstream_port, "/health") == b""
    assert _get(bench.upstream_port, "/justitia/state").startswith(b"HTTP/1.1 404 ")


@needs_compiler
def test_a_body_in_chunks_is_read_as_one_in_a_piece(bench: Bench) -> None:
    body = b'{"model": "burst-32", "stream": true, "stream_options": {"include_usage": true}}'
    chunks = b"".join(b"%x;extension\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:]))
    head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    one = _answer(bench.upstream_port, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
    other = _answer(bench.upstream_port, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    for answer in (one, other):
        assert re.findall(rb"#(\d+)@\d+;", answer) == [b"%d" % number for number in range(32)]
        assert answer.count(b'"usage":') == 1
        assert answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


@needs_compiler
def test_calls_streams_and_rates_are_counted_whole(bench: Bench) -> None:
    direct = Standing(bench.upstream_port, None, {"x-justitia-application": NAME})
    unary = run(bench, direct, direct.request("burst-32"), Load(0, 5, ("--calls", "1000", "--connections", "8")))
    assert unary["statuses"] == {"200": 1000}
    assert errors(unary) == 0
    flags = ("--calls", "100", "--events", "32", "--connections", "4")
    bursts = run(bench, direct, direct.request("burst-32", is_stream=True), Load(0, 5, flags))
    assert (bursts["ended"], bursts["events"], errors(bursts)) == (100, 3200, 0)
    steady = run(bench, direct, direct.request("burst-32"), Load(0, 0.5, ("--rate", "400")))
    assert errors(steady) == 0
    assert 100 < steady["calls"] < 320  # Poisson with mean 200
    held = run(
        bench,
        direct,
        direct.request("paced-20", max_tokens=12, is_stream=True),
        Load(0.1, 0.4, ("--hold", "--events", "12", "--connections", "10")),
    )
    assert held["ended"] == 10
    assert errors(held) == 0


@needs_compiler
def test_what_is_missing_is_counted(bench: Bench) -> None:
    direct = Standing(bench.upstream_port, None, {})
    flags = ("--calls", "10", "--connections", "2")
    too_few = run(bench, direct, direct.request("burst-32", is_stream=True), Load(0, 5, (*flags, "--events", "40")))
    assert too_few["lost_events"] == 10 * 8
    no_stream = run(bench, direct, direct.request("burst-32"), Load(0, 5, (*flags, "--events", "32")))
    assert (no_stream["lost_events"], no_stream["unfinished_streams"], no_stream["not_streamed"]) == (320, 10, 10)
    refused = run(bench, direct, request(bench.upstream_port, "no model!"), Load(0, 5, flags))
    assert (refused["refused"], refused["calls"], refused["statuses"]) == (10, 0, {"400": 10})


_STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@needs_compiler
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (_STREAM + b"10\r\n#0@1;#1@1;[DONE]\r\n0\r\n\r\n", {"events": 2, "lost_events": 0, "unfinished_streams": 0}),
        (_STREAM + b"a\r\n#0@1;#1@1;\r\n0\r\n\r\n", {"lost_events": 0, "unfinished_streams": 1}),
        (_STREAM + b"10\r\n#1@1;#0@1;[DONE]\r\n0\r\n\r\n", {"lost_events": 1, "reordered_events": 1}),
        (_STREAM + b"9\r\n#0@1;#1@", {"broken": 1, "calls": 0}),
        (_STREAM + b"zz\r\n#0@1;#1@", {"broken": 1, "calls": 0}),
        (b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno", {"refused": 1, "calls": 0, "lost_events": 0}),
    ],
)
def test_the_load_sees_what_a_bad_gateway_does(
    native: Native, tmp_path: Path, answer: bytes, expected: dict[str, int]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = threading.Thread(target=_serve_once, args=(listener, answer))
        served.start()
        port = listener.getsockname()[1]
        target = Standing(port, None, {})
        bench = Bench(tmp_path, native, Cores(None, None, None), port)
        flags = ("--calls", "1", "--connections", "1", "--events", "2")
        seen = run(bench, target, target.request("burst-32", is_stream=True), Load(0, 5, flags))
        served.join()
    assert {name: seen[name] for name in expected} == expected


def _serve_once(listener: socket.socket, answer: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(answer)


@needs_compiler
def test_a_name_is_shared_by_some_calls_of_a_connection(native: Native, tmp_path: Path) -> None:
    heard: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            for _ in range(5):
                heard.extend(re.findall(rb"application: (\S+)", connection.recv(65536)))
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = threading.Thread(target=serve, args=(listener,))
        served.start()
        target = Standing(listener.getsockname()[1], None, {"x-justitia-application": NAME})
        bench = Bench(tmp_path, native, Cores(None, None, None), target.port)
        flags = ("--calls", "5", "--connections", "1", "--reuse", "2", "--names-from", "7")
        run(bench, target, target.request("burst-32"), Load(0, 5, flags))
        served.join()
    assert heard == [b"a00000-0000007"] * 2 + [b"a00000-0000008"] * 2 + [b"a00000-0000009"]


@needs_compiler
def test_at_a_rate_the_wait_for_a_slow_answer_counts(native: Native, tmp_path: Path) -> None:
    was_slow = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            while connection.recv(65536):
                if not was_slow.is_set():
                    was_slow.wait(0.5)
                    was_slow.set()
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = threading.Thread(target=serve, args=(listener,))
        served.start()
        target = Standing(listener.getsockname()[1], None, {})
        bench = Bench(tmp_path, native, Cores(None, None, None), target.port)
        seen = run(bench, target, target.request("burst-32"), Load(0, 0.3, ("--rate", "100", "--connections", "1")))
        served.join()
    # All of them were answered after the time was over, and each waited from when it was due.
    assert seen["calls"] == seen["statuses"]["200"] == seen["samples"] > 10
    assert errors(seen) == 0
    assert seen["p50_ms"] > 200
    assert seen["max_ms"] > 450


@needs_compiler
def test_without_anybody_there_is_no_result(native: Native, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    bench = Bench(tmp_path, native, Cores(None, None, None), port)
    with pytest.raises(LoadFailed):
        run(bench, Standing(port, None, {}), request(port, "burst-32"), Load(0, 1))


# --- processes ---


def test_a_name_with_spaces_and_parentheses_is_no_field() -> None:
    line = "7 (a (b) c) S 3 1 1 0 -1 4194560 900 0 0 0 250 50 30 20 20 0 1 0 100 1000 10"
    stat = parsed_stat(line)
    assert stat.parent == 3
    assert stat.cpu_s == pytest.approx(350 / os.sysconf("SC_CLK_TCK"))


def test_everything_below_is_counted_and_nothing_beside() -> None:
    assert descendants(2, {1: 0, 2: 1, 3: 2, 4: 3, 5: 1}) == [2, 3, 4]
    assert tree(2**30) == {}
    assert cpu_s(2**30) == 0
    assert cpu_s(os.getpid()) > 0


def test_what_ends_at_once_has_not_started(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with started(["sh", "-c", "echo it is broken; exit 3"], log) as process:
        process.wait()
        with pytest.raises(NotStarted, match="ended with 3: it is broken"):
            wait_for_answer(process, log, 1, b"", timeout_s=5)
    with pytest.raises(NotStarted), started(["/nowhere/program"], log):
        pass


def test_children_end_with_whoever_started_them(tmp_path: Path) -> None:
    with started(["sh", "-c", "sleep 600 & echo ready; wait"], tmp_path / "log") as process:
        while len(tree(process.pid)) < 2:
            assert process.poll() is None
        children = set(tree(process.pid)) - {process.pid}
    assert process.poll() is not None
    assert children
    patience_until = time.monotonic() + 10
    while not all(_is_gone(child) for child in children):
        assert time.monotonic() < patience_until


def _is_gone(process: int) -> bool:
    """Or dead, and not yet fetched by its parent."""
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in ("Z", "X")


def test_the_contender_has_a_core_for_itself_where_there_are_two() -> None:
    assert planned([4]) == Cores(None, None, None)
    assert planned([4, 5]) == Cores(contender=4, upstream=5, load=5)
    assert planned([0, 1, 2, 3]) == Cores(contender=0, upstream=2, load=1)


def test_contenders_have_names_of_their_own_and_versions() -> None:
    names = [one.name for one in CONTENDERS]
    assert len({*names, DIRECT}) == len(names) + 1
    assert tables.OURS in names
    for one in CONTENDERS:
        assert one.packages.source != "pip" or all("==" in name for name in one.packages.names)


def test_an_npm_package_has_one_version_of_each() -> None:
    versions = {"@a/b": "1.2.3", "c": "4.5.6"}
    package = npm_package(("@a/b@1.2.3", "c@4.5.6"))
    assert package["dependencies"] == package["overrides"] == versions


def test_a_request_has_its_length_and_what_is_asked() -> None:
    head, _, body = request(80, "paced-20", 7, True, {"x-justitia-application": NAME}).partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert f"x-justitia-application: {NAME}".encode() in head
    assert 800 < len(body) < 2000
    asked = json.loads(body)
    assert (asked["model"], asked["max_tokens"], asked["stream"]) == ("paced-20", 7, True)


# --- tables ---


def _row(number: int, contender: str, measure: str, **figures: Any) -> dict[str, Any]:
    plain = {"calls": 200, "calls_per_s": 100.0, "seconds": 2.0, "p50_ms": 1.0, "p99_ms": 2.0, "rate": 200.0}
    spent = {} if contender == DIRECT else {"cpu_s": 2.0, "waited_s": 0.0, "cpu_ms_per_call": 0.5, "memory_mib": 60.0}
    return {"round": number, "contender": contender, "measure": measure, **plain, **spent, **figures}


ROWS = [
    *(_row(number, DIRECT, "latency", p50_ms=0.1 * number, p99_ms=1.0) for number in range(3)),
    *(_row(number, "slow", "latency", p50_ms=0.1 * number + 5.0, p99_ms=9.0, refused=2) for number in range(3)),
    *(_row(number, "justitia", "latency", p50_ms=0.1 * number + 0.5, p99_ms=3.0) for number in range(3)),
    *(
        _row(number, name, measure, calls_per_s=rate * (number + 1))
        for name, rate in ((DIRECT, 900.0), ("slow", 100.0), ("justitia", 250.0))
        for measure in ("unary", "bursts")
        for number in range(3)
    ),
]
PEERS = {
    "quick": False,
    "pinning": "not pinned",
    "left_out": {"gone": "no such package"},
    "sizes": {"rounds": 3, "unary_s": 6, "bursts_s": 5, "latency_s": 10, "calls_per_application": 20},
    "rows": ROWS,
}
PAGE = "\n".join(f"<!-- {name} -->\n<!-- /{name} -->" for name in ("peers", "streams", "soak", "profile"))


def test_ratios_and_added_latency_are_taken_round_by_round() -> None:
    assert tables.added(ROWS, "slow", "p50_ms") == pytest.approx(5.0)
    page = tables.with_tables(PAGE, {"peers": PEERS})
    assert "| slow | 200 | 2.50 | 0.500 | 200 | 5.00 / 8.00 | 60 | 6 |" in page
    assert "| justitia | 500 | 1.00 | 0.500 | 500 | 0.50 / 2.00 | 60 | 0 |" in page
    assert "Left out: gone (no such package)." in page
    assert page.count("Not measured yet.") == 3
    assert "quick run" not in page
    assert "A quick run" in tables.with_tables(PAGE, {"peers": PEERS | {"quick": True}})


def test_who_never_answered_has_no_latency() -> None:
    rows = [{**row, "calls": 0} if row["contender"] == "slow" else row for row in ROWS]
    assert tables.added(rows, "slow", "p50_ms") is None
    assert "| 200 | – / – | 60 | 6 |" in tables.with_tables(PAGE, {"peers": PEERS | {"rows": rows}})


def test_an_idle_contender_was_not_the_limit() -> None:
    rows = [{**row, "cpu_s": 0.9} if row["contender"] == "slow" else row for row in ROWS]
    page = tables.with_tables(PAGE, {"peers": PEERS | {"rows": rows}})
    assert "| slow | ≥ 200 | 2.50 | 0.500 | ≥ 200 |" in page
    # One that waited for its core while others had it was.
    rows = [{**row, "waited_s": 1.0} if row["contender"] == "slow" else row for row in rows]
    assert "| slow | 200 | 2.50 |" in tables.with_tables(PAGE, {"peers": PEERS | {"rows": rows}})


def test_streams_are_shown_against_the_upstream_alone() -> None:
    plain = {"streams": 500, "events": 990, "due_events": 1000, "lost_events": 0, "reordered_events": 3}
    found = {
        "quick": False,
        "pinning": "not pinned",
        "left_out": {},
        "rows": [
            {"contender": DIRECT, **plain, "p50_ms": 0.1, "p99_ms": 0.5},
            {"contender": "justitia", **plain, "p50_ms": 0.4, "p99_ms": 2.5, "busy": 0.49, "kib_per_stream": 41.2},
        ],
    }
    page = tables.with_tables(PAGE, {"streams": found})
    assert "| justitia | 500 | 99.0% | 3 | 0.30 / 2.00 | 49% | 41 |" in page


def test_growth_is_told_after_warm_up() -> None:
    filling = [float(number) for number in range(30)]
    assert soak.grown(filling + [100.0] * 70) == pytest.approx(0.0)
    assert soak.grown(filling + [100.0] * 35 + [110.0] * 35) == pytest.approx(0.1)
    assert soak.grown([1.0, 2.0, 3.0]) is None
    text = '# TYPE a counter\na{kind="x"} 1\na{kind="y"} 2\nb 3\nc{rule="a00003-0000012"} 1\n'
    assert soak.num_metric_series(text) == 4
    assert soak.applications_named(text) == 1


def test_samples_count_for_the_innermost_package() -> None:
    stacks = profile.collapsed(
        [
            "main (/repo/gateway/cli.py:1);run (/usr/lib/python3.11/asyncio/runners.py:118) 5",
            "main (/repo/gateway/cli.py:1);send (/repo/gateway/engines/upstream.py:40) 3",
            "main (/repo/gateway/cli.py:1);feed (/v/lib/python3.11/site-packages/uvicorn/protocols/http.py:9) 2",
            "loads (/usr/lib/python3.11/json/decoder.py:337) 1",
            "gap (/v/lib/python3.11/site-packages/gateway_like.py:3) 1",
            "not a stack",
        ]
    )
    assert profile.by_package(stacks) == {
        "event loop and sockets": 5,
        "gateway.engines": 3,
        "uvicorn": 2,
        "standard library": 1,
        "gateway_like": 1,
    }


def test_results_are_written_a_row_a_line() -> None:
    report = {"peers": PEERS, "soak": {"calls": 3, "series": [{"calls": 1}, {"calls": 2}]}}
    text = shown(report)
    assert json.loads(text) == report
    assert text.count('"round"') == len(ROWS) == len(re.findall(r'^  \{"round".*\},?$', text, re.MULTILINE))


def test_the_page_on_speed_shows_what_was_measured() -> None:
    page = tables.PAGE.read_text()
    report = json.loads(tables.RESULT.read_text()) if tables.RESULT.exists() else {}
    assert tables.with_tables(page, report) == page, "python -m benchmarks.gateway.tables"
