"""`justitia clock`: what it answers, what it refuses, and that both stores print the same bytes."""

import io
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from redis import Redis

from gateway.clock_command import answer_lines, main

Event = dict[str, object]
COMMAND = [sys.executable, "-m", "gateway.clock_command", "clock"]


def ask(place: str, *lines: str | bytes | Event) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) for these lines."""
    texts = [json.dumps(line) if isinstance(line, dict) else line for line in lines]
    encoded = [line if isinstance(line, bytes) else line.encode() for line in texts]
    answers, complaints = io.StringIO(), io.StringIO()
    code = answer_lines(place, [line + b"\n" for line in encoded], answers, complaints)
    return code, answers.getvalue(), complaints.getvalue()


def answers_to(*events: Event) -> list[dict[str, Any]]:
    code, answers, complaints = ask("memory", *events)
    assert (code, complaints) == (0, "")
    return [json.loads(line) for line in answers.splitlines()]


def arrive(name: str, cost: float, **more: object) -> Event:
    return {"event": "arrive", "application": name, "cost": cost, **more}


def serve(service: float) -> Event:
    return {"event": "serve", "service": service}


def test_the_documented_lines() -> None:
    events = [
        arrive("a", 100, weight=1000),
        arrive("b", 50),
        serve(40),
        {"event": "revise", "application": "a", "cost": 250},
        {"event": "close", "application": "a"},
    ]
    code, answers, _ = ask("memory", *events)
    assert code == 0
    assert answers.splitlines() == [
        '{"virtual_time": 0.0, "application": "a", "virtual_finish_time": 100.0, "backlogged": ["a"]}',
        '{"virtual_time": 0.0, "application": "b", "virtual_finish_time": 50.0, "backlogged": ["b", "a"]}',
        '{"virtual_time": 20.0, "application": null, "virtual_finish_time": null, "backlogged": ["b", "a"]}',
        '{"virtual_time": 20.0, "application": "a", "virtual_finish_time": 250.0, "backlogged": ["b", "a"]}',
        '{"virtual_time": 20.0, "application": "a", "virtual_finish_time": 250.0, "backlogged": ["b", "a"]}',
    ]


def test_a_weight_divides_the_cost() -> None:
    third, unit = answers_to(arrive("a", 100, weight=3000), arrive("b", 100))
    assert third["virtual_finish_time"] == 100 * 1000 / 3000
    assert unit["virtual_finish_time"] == 100


def test_close_may_settle() -> None:
    answers = answers_to(arrive("a", 100), {"event": "close", "application": "a", "cost": 30}, serve(1000))
    assert answers[1]["virtual_finish_time"] == 30
    assert answers[2] == {"virtual_time": 30, "application": None, "virtual_finish_time": None, "backlogged": []}


def test_blank_lines_are_passed_over() -> None:
    code, answers, _ = ask("memory", "", "  \t", serve(1), "\r")
    assert (code, len(answers.splitlines())) == (0, 1)


BAD_LINES: list[tuple[str | bytes, str]] = [
    ("{", "not valid JSON"),
    ("nonsense", "not valid JSON"),
    (b"\xff\xfe", "not valid JSON"),
    ("[" * 100_000, "not valid JSON"),
    ('{"event": "serve", "service": NaN}', "not valid JSON"),
    ('{"event": "serve", "service": -Infinity}', "not valid JSON"),
    ('{"event": "serve", "service": ' + "9" * 5000 + "}", "not valid JSON"),
    ("[1]", "not a JSON object"),
    ("null", "not a JSON object"),
    ("{}", '"event" is missing'),
    ('{"event": 7}', '"event" must be a string'),
    ('{"event": "stop"}', 'unknown event "stop": arrive, serve, revise or close'),
    ('{"event": "serve"}', '"service" is missing'),
    ('{"event": "serve", "service": "1"}', '"service" must be a number'),
    ('{"event": "serve", "service": true}', '"service" must be a number'),
    ('{"event": "serve", "service": null}', '"service" must be a number'),
    ('{"event": "serve", "service": -1}', "service must be finite and not negative, got -1.0"),
    ('{"event": "serve", "service": 1e999}', "service must be finite and not negative, got inf"),
    ('{"event": "serve", "service": ' + "9" * 400 + "}", '"service" is too large'),
    ('{"event": "arrive", "cost": 1}', '"application" is missing'),
    ('{"event": "arrive", "application": 5, "cost": 1}', '"application" must be a string'),
    ('{"event": "arrive", "application": "x"}', '"cost" is missing'),
    (
        '{"event": "arrive", "application": "x", "cost": 2e15}',
        "cost must lie between 0 and 1e+15, got 2000000000000000.0",
    ),
    ('{"event": "arrive", "application": "x", "cost": 1, "weight": 1.5}', '"weight" must be a whole number'),
    ('{"event": "arrive", "application": "x", "cost": 1, "weight": true}', '"weight" must be a whole number'),
    ('{"event": "arrive", "application": "x", "cost": 1, "weight": null}', '"weight" must be a whole number'),
    (
        '{"event": "arrive", "application": "x", "cost": 1, "weight": 0}',
        "weight must be a whole number of thousandths between 1 and 1000000000, got 0",
    ),
    ('{"event": "arrive", "application": "\\ud800", "cost": 1}', r"not valid text: '\ud800'"),
    ('{"event": "revise", "application": "x", "cost": 1}', 'unknown application "x"'),
    ('{"event": "close", "application": "x\\n"}', r'unknown application "x\n"'),
    ('{"event": "close", "application": "a", "cost": false}', '"cost" must be a number'),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES, ids=range(len(BAD_LINES)))
def test_a_bad_line_ends_it_with_its_number_and_reason(line: str | bytes, reason: str) -> None:
    code, answers, complaints = ask("memory", arrive("a", 5), "", line, serve(1))
    assert (code, complaints) == (2, f"line 3: {reason}\n")
    assert len(answers.splitlines()) == 1


@pytest.mark.redis
def test_redis_refuses_in_the_same_words(redis_url: str) -> None:
    for line, _ in BAD_LINES:
        assert ask(redis_url, arrive("a", 5), line) == ask("memory", arrive("a", 5), line)


def history(seed: int, length: int) -> list[Event]:
    """Events that keep happening to the same few applications, some of them on the boundary."""
    chance = random.Random(seed)
    costs: Sequence[float] = (0, 1, 7, 50, 100, 0.1, 1 / 3, 1e-300, 1e15)
    is_open: set[str] = set()
    events: list[Event] = []
    for _ in range(length):
        name = chance.choice(["a", "b", "c", "é", "\U0001f600"])
        cost = chance.choice([chance.choice(costs), chance.uniform(0, 1000)])
        match chance.choice(["arrive", "arrive", "serve", "serve", "revise", "close"]):
            case "arrive":
                events.append(arrive(name, cost, weight=chance.choice([1, 3, 700, 1000, 1000, 3000])))
                is_open.add(name)
            case "revise" if name in is_open:
                events.append({"event": "revise", "application": name, "cost": cost})
            case "close" if name in is_open:
                settled = {"cost": cost} if chance.random() < 0.5 else {}
                events.append({"event": "close", "application": name, **settled})
                is_open.discard(name)
            case _:
                events.append(serve(cost))
    return events


@pytest.mark.redis
@pytest.mark.parametrize("seed", range(6))
def test_both_stores_print_the_same_bytes(redis_url: str, seed: int) -> None:
    events = history(seed, 120)
    in_memory = ask("memory", *events)
    assert in_memory[0] == 0
    assert ask(redis_url, *events) == in_memory


@pytest.mark.redis
def test_a_live_gateway_is_not_disturbed_and_nothing_is_left(redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        client.hset("{justitia}:clock", mapping={"virtual_time": "77", "weight_sum": "0"})
        before = sorted(client.keys())
        assert ask(redis_url, arrive("a", 5), arrive("b", 5), serve(1))[0] == 0
        assert ask(redis_url, arrive("a", 5), "nonsense")[0] == 2
        assert sorted(client.keys()) == before
        assert client.hget("{justitia}:clock", "virtual_time") == b"77"
        client.delete("{justitia}:clock")


@pytest.mark.redis
def test_an_unreachable_redis_is_one_line_and_exit_1(redis_server: Any) -> None:
    redis_server.kill()
    for lines in ([], [serve(1)]):
        code, answers, complaints = ask(redis_server.url, *lines)
        assert (code, answers, complaints) == (1, "", "the state store cannot be used: ConnectionError\n")


@pytest.mark.redis
def test_a_redis_lost_on_the_way_is_one_line_and_exit_1(redis_server: Any) -> None:
    def lines() -> Any:
        yield json.dumps(arrive("a", 5)).encode()
        redis_server.kill()
        yield json.dumps(serve(1)).encode()

    answers, complaints = io.StringIO(), io.StringIO()
    assert answer_lines(redis_server.url, lines(), answers, complaints) == 1
    assert complaints.getvalue() == "the state store cannot be used: ConnectionError\n"
    assert len(answers.getvalue().splitlines()) == 1


# --- the real process -----------------------------------------------------------------------------------------------


@pytest.mark.redis
def test_the_process_prints_the_same_bytes_for_both(redis_url: str) -> None:
    text = "\n".join(json.dumps(event) for event in history(99, 40)).encode()
    printed = [
        subprocess.run([*COMMAND, "--store", place], input=text, capture_output=True, check=True).stdout
        for place in ("memory", redis_url)
    ]
    assert printed[0] == printed[1]
    assert len(printed[0].splitlines()) == 40


def test_the_process_answers_line_by_line_and_obeys_an_interrupt() -> None:
    with subprocess.Popen(
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Tests that run in the background of a shell are deaf to interrupts, and so is what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(json.dumps(arrive("a", 5)).encode() + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["backlogged"] == ["a"]
        process.send_signal(signal.SIGINT)
        assert (process.wait(10), process.stderr.read()) == (130, b"")


def test_the_process_ends_quietly_when_its_reader_has_left() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    events = json.dumps(serve(1)).encode()
    done = subprocess.run(COMMAND, input=events, stdout=write_end, stderr=subprocess.PIPE, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_process_refuses_a_store_it_does_not_know() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["clock", "--store", "mysql://localhost"])
    assert caught.value.code == 2


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["clock", "--help"])
    assert caught.value.code == 0
    assert "justitia clock" in capsys.readouterr().out.split("example:")[1]
