"""What can be asked for, and the exit codes of what cannot be done. The whole demo runs in tests/end_to_end."""

import argparse
import importlib.util
import json
from pathlib import Path

import pytest

from gateway import cli
from gateway.demo import command
from gateway.demo.arguments import SAMPLE_SIZES, TRACE_SIZES, sizes_of, workload_of
from gateway.demo.stage import run_order

NOBODY = "http://127.0.0.1:9"


def parsed(*flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="justitia")
    command.add_parser(parser.add_subparsers())
    return parser.parse_args(["demo", *flags])


def traces(folder: Path, count: int = 3) -> Path:
    path = folder / "apps.jsonl"
    call = {"id": 0, "after": [], "extends": None, "delay_s": 0, "prompt_tokens": 9, "completion_tokens": 2}
    lines = [{"app_id": f"a{n}", "app_type": "k", "input_text": "x", "calls": [call]} for n in range(count)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_the_defaults_hang_together_with_the_workload(tmp_path: Path) -> None:
    assert sizes_of(parsed()) == SAMPLE_SIZES
    assert sizes_of(parsed("--traces", str(traces(tmp_path)))) == TRACE_SIZES
    changed = sizes_of(
        parsed("--applications", "9", "--window-s", "2.5", "--kv-blocks", "64", "--max-model-len", "512")
    )
    assert (changed.applications, changed.window_s, changed.kv_blocks, changed.max_model_len) == (9, 2.5, 64, 512)


def test_the_pool_holds_the_longest_call_by_default() -> None:
    block_size = 32
    for sizes in (SAMPLE_SIZES, TRACE_SIZES):
        assert (sizes.kv_blocks - 1) * block_size >= sizes.max_model_len  # one block is never given out


def test_the_workload_asked_for(tmp_path: Path) -> None:
    arrivals = tmp_path / "arrivals.csv"
    arrivals.write_text("arrival_s\n10\n12\n14\n99\n")
    args = parsed(
        "--traces", str(traces(tmp_path)), "--arrivals", str(arrivals), "--applications", "3", "--window-s", "8"
    )

    workload = workload_of(args)

    assert workload.arrivals_s == (0.0, 4.0, 8.0)
    assert {application.app_id for application in workload.applications} == {"a0", "a1", "a2"}
    assert workload_of(parsed("--seed", "5")) == workload_of(parsed("--seed", "5"))
    assert workload_of(parsed("--seed", "5")) != workload_of(parsed("--seed", "6"))


def test_each_round_begins_with_another_policy() -> None:
    assert list(run_order(["fcfs", "justitia"], 3)) == [
        (1, "fcfs"),
        (1, "justitia"),
        (2, "justitia"),
        (2, "fcfs"),
        (3, "fcfs"),
        (3, "justitia"),
    ]
    assert [policy for _, policy in run_order(["fcfs", "vtc", "justitia"], 2)][3:] == ["vtc", "justitia", "fcfs"]


@pytest.mark.parametrize(
    "flags",
    [
        ["--policy", "best"],
        ["--rounds", "0"],
        ["--rounds", "many"],
        ["--applications", "-1"],
        ["--window-s", "0"],
        ["--window-s", "nan"],
        ["--time-scale", "inf"],
        ["--kv-blocks", "1.5"],
        ["--costs", "free"],
        ["--engine", "localhost:8000"],
        ["--port", "70000"],
    ],
)
def test_flags_that_make_no_sense(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["demo", *flags])
    assert stopped.value.code == 2
    assert flags[0] in capsys.readouterr().err


def test_a_trace_that_cannot_be_used_is_one_line_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "apps.jsonl"
    path.write_text("{}\n")

    assert cli.main(["demo", "--traces", str(path), "--engine", NOBODY]) == 2
    assert capsys.readouterr().err == f"justitia demo: {path}, line 1: the application: app_id is missing or not text\n"


def test_more_applications_than_recorded_are_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = traces(tmp_path, count=3)

    assert cli.main(["demo", "--traces", str(path), "--applications", "4", "--engine", NOBODY]) == 2
    assert "--applications 4: the files hold only 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("missing", "extra"), [("vllm", "justitia-gateway[engine]"), ("openai", "justitia-gateway[demo]")]
)
def test_what_is_not_installed_is_named_with_its_extra(
    missing: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))

    assert cli.main(["demo"]) == 1
    told = capsys.readouterr().err
    assert extra in told
    assert told.count("\n") == 1


def test_an_engine_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--engine", NOBODY]) == 1
    told = capsys.readouterr().err
    assert told.startswith("justitia demo: GET /metrics: ConnectError")
    assert told.count("\n") == 1
