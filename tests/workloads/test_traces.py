"""Reading trace files: what is taken, and that every fault is told with its file, line and reason."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.workloads.traces import TraceError, read_applications, read_arrivals


def call(call_id: int, **changes: Any) -> dict[str, Any]:
    value = {
        "id": call_id,
        "after": [call_id - 1] if call_id else [],
        "extends": None,
        "delay_s": 0.5,
        "append": [{"role": "user", "content": "hello"}],
        "completion": "hi",
        "prompt_tokens": 10,
        "completion_tokens": 5,
    }
    value.update(changes)
    return {name: field for name, field in value.items() if field != "absent"}


def application(*calls: dict[str, Any], **changes: Any) -> dict[str, Any]:
    value = {"app_id": "a-1", "app_type": "kind", "calls": list(calls) or [call(0)], **changes}
    return {name: field for name, field in value.items() if field != "absent"}


def written(folder: Path, *lines: object) -> Path:
    path = folder / "apps.jsonl"
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(TraceError) as caught:
        read_applications(path)
    return str(caught.value)


def test_what_was_recorded_is_what_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, application(call(0), call(1, extends=0, delay_s=2)), "", application(app_id="a-2"))

    first, second = read_applications(path)

    assert (first.app_id, first.kind, second.app_id) == ("a-1", "kind", "a-2")
    assert [(one.call_id, one.after, one.extends, one.delay_s) for one in first.calls] == [
        (0, (), None, 0.5),
        (1, (0,), 0, 2.0),
    ]
    assert first.calls[0].append == ({"role": "user", "content": "hello"},)
    assert (first.calls[0].prompt_tokens, first.calls[0].completion_tokens) == (10, 5)


def test_calls_are_put_in_an_order_in_which_they_can_run(tmp_path: Path) -> None:
    path = written(tmp_path, application(call(2, after=[1]), call(0, after=[]), call(1, after=[0])))

    assert [one.call_id for one in read_applications(path)[0].calls] == [0, 1, 2]


def test_lengths_alone_are_enough_with_an_input_text(tmp_path: Path) -> None:
    bare = call(0, append="absent", completion="absent")

    assert read_applications(written(tmp_path, application(bare, input_text="ask")))[0].input_text == "ask"
    assert "neither input_text" in refusal(written(tmp_path, application(bare)))


def test_packed_files_are_known_by_their_content(tmp_path: Path) -> None:
    path = tmp_path / "no_suffix"
    path.write_bytes(gzip.compress(json.dumps(application()).encode()))

    assert len(read_applications(path)) == 1


def test_an_application_may_have_a_tenant(tmp_path: Path) -> None:
    path = tmp_path / "apps.jsonl"
    lines = (application(tenant="alice"), application(tenant=None), application())
    path.write_text("\n".join(map(json.dumps, lines)))
    assert [one.tenant for one in read_applications(path)] == ["alice", None, None]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not a JSON object"),
        (application(app_id="absent"), "app_id is missing"),
        (application(app_type=3), "app_type is missing or not text"),
        (application(tenant=3), "tenant is missing or not text"),
        (application(tenant=""), "tenant is missing or not text"),
        (application(calls=[]), "calls is missing or empty"),
        (application(calls=[7]), "a call is not a JSON object"),
        (application(call(0, id=True)), "id is missing or not a whole number"),
        (application(call(0, after="absent")), "call 0: after is missing"),
        (application(call(0, after=["0"])), "call 0: after is missing or not a list of call ids"),
        (application(call(0, extends="0")), "call 0: extends is neither"),
        (application(call(0, delay_s="absent")), "call 0: delay_s is missing"),
        (application(call(0, delay_s=-1)), "call 0: delay_s is -1"),
        ('{"app_id":"a","app_type":"k","calls":[{"id":0,"after":[],"delay_s":NaN}]}', "call 0: delay_s is nan"),
        (application(call(0, prompt_tokens=-3)), "call 0: prompt_tokens is -3"),
        (application(call(0, completion_tokens=0)), "call 0: completion_tokens is 0"),
        (application(call(0, completion_tokens=1.5)), "call 0: completion_tokens is missing or not a whole number"),
        (application(call(0, completion="absent")), "call 0: has only one of append and completion"),
        (application(call(0, append=[{"role": "user"}])), "call 0: a message of append lacks role or content"),
        (application(call(0), call(0)), "two calls have the same id"),
        (application(call(0), call(1, after=[5])), "call 1: there is no call 5"),
        (application(call(0, extends=0)), "in a circle"),
        (application(call(0, after=[1]), call(1, after=[0])), "in a circle"),
    ],
)
def test_a_bad_line_is_named_with_its_reason(tmp_path: Path, line: object, reason: str) -> None:
    path = written(tmp_path, application(), line)

    told = refusal(path)

    assert told.startswith(f"{path}, line 2: ")
    assert reason in told
    assert "\n" not in told


def test_a_gzip_file_that_was_cut_off_is_told_apart_from_a_short_one(tmp_path: Path) -> None:
    path = tmp_path / "apps.jsonl.gz"
    lines = "".join(json.dumps(application(app_id=f"a-{number}")) + "\n" for number in range(500))
    whole = gzip.compress(lines.encode())
    path.write_bytes(whole[:-20])

    told = refusal(path)

    assert "damaged or cut off" in told
    path.write_bytes(whole)
    assert len(read_applications(path)) == 500


def test_files_that_are_no_traces(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")

    assert "not UTF-8" in refusal(binary)
    assert "holds no application" in refusal(written(tmp_path, ""))
    assert refusal(tmp_path / "nowhere") == f"{tmp_path / 'nowhere'}: No such file or directory"
    assert "Is a directory" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("prompt_tokens\n1\n", "line 1: the header has no column arrival_s"),
        ("arrival_s\n", "holds no arrival"),
        ("x,arrival_s\n1\n", "line 2: arrival_s is missing"),
        ("arrival_s\nsoon\n", "line 2: arrival_s is no number"),
        ("arrival_s\n0\nnan\n", "line 3: arrival_s is nan"),
        ("arrival_s\n-1\n", "line 2: arrival_s is -1"),
        ("arrival_s\n5\n4\n", "line 3: arrival_s 4.0 is earlier"),
    ],
)
def test_bad_arrivals(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "arrivals.csv"
    path.write_text(text)

    with pytest.raises(TraceError, match=reason):
        read_arrivals(path)


def test_arrivals_are_read_from_their_column(tmp_path: Path) -> None:
    path = tmp_path / "arrivals.csv"
    path.write_text("prompt_tokens,arrival_s\n7,0.5\n9,0.5\n8,2\n")

    assert read_arrivals(path) == [0.5, 0.5, 2.0]
