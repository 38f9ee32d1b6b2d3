"""`justitia replay`: what it prints, and what it says to files that are wrong."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main

SIZE = ["--applications", "12", "--window-s", "4", "--kv-blocks", "128"]


def call(**fields: Any) -> dict[str, Any]:
    return {"id": 0, "after": [], "extends": None, "delay_s": 0, "prompt_tokens": 10, "completion_tokens": 2} | fields


def write(path: Path, *calls: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"app_id": "a", "app_type": "k", "input_text": "x", "calls": list(calls)}) + "\n")
    return path


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vllm_config: Any) -> None:
    """`vllm_config` demands that vLLM is there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_table_with_a_row_for_each_policy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", *SIZE]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["vtc", "fcfs", "justitia"]


def test_one_object_a_policy_with_the_fields_of_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", *SIZE, "--json", "--policy", "justitia", "srjf", "--prefix-caching"]) == 0
    reports = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [report["policy"] for report in reports] == ["justitia", "srjf"]
    fields = {"policy", "applications", "mean_jct_s", "p90_jct_s", "p99_jct_s", "makespan_s", "share_later_than_vtc"}
    fields |= {"worst_ratio_to_vtc", "preemptions", "engine_steps", "by_kind"}
    assert fields <= reports[0].keys()
    assert reports[0]["applications"] == 12


def test_tenants_of_the_applications_can_have_the_shares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        {
            "app_id": f"{n}",
            "app_type": "k",
            "tenant": tenant,
            "input_text": "x",
            "calls": [call(prompt_tokens=400, completion_tokens=90)],
        }
        for n, tenant in enumerate(["crowd"] * 12 + ["one"])
    ]
    path = tmp_path / "apps.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    jct_s = {}
    for shares in ("application", "tenant"):
        options = ["--window-s", "0.1", "--kv-blocks", "64", "--policy", "justitia", "--shares", shares, "--json"]
        assert main(["replay", str(path), *options]) == 0
        jct_s[shares] = json.loads(capsys.readouterr().out)["by_tenant"]["one"]["mean_jct_s"]
    assert jct_s["tenant"] < jct_s["application"]


def test_pictures_are_drawn_where_they_are_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", *SIZE, "--policy", "vtc", "justitia", "--figures", str(tmp_path / "pictures")]) == 0
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 6
    capsys.readouterr()
    (tmp_path / "file").write_text("")
    assert main(["replay", *SIZE, "--policy", "justitia", "--figures", str(tmp_path / "file")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"--figures {tmp_path / 'file'}: " in line


def test_nothing_else_is_on_stdout() -> None:
    """In a process of its own: vLLM sets up its log when it is first imported."""
    command = [sys.executable, "-m", "gateway.cli", "replay", *SIZE, "--json", "--policy", "justitia"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["policy"] == "justitia"


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        ([{"id": 0}], "after is missing"),
        ([call(prompt_tokens=-5)], "prompt_tokens is -5"),
        ([call(after=[1]), call(id=1, after=[0])], "circle"),
        ([call(completion_tokens=10_000)], "larger than the KV memory"),
    ],
)
def test_a_file_that_is_wrong_is_one_line(
    calls: list[dict[str, Any]], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "apps.jsonl", *calls)
    assert main(["replay", str(path)]) == 2
    output = capsys.readouterr()
    [line] = output.err.splitlines()
    assert reason in line
    assert output.out == ""


def test_a_file_that_is_cut_off_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = gzip.compress(write(tmp_path / "apps.jsonl", *[call(id=i) for i in range(500)]).read_bytes())
    path = tmp_path / "apps.jsonl.gz"
    path.write_bytes(packed[: len(packed) // 2])
    assert main(["replay", str(path)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"{path}, line 1: the gzip file is damaged or cut off" in line


def test_more_applications_than_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(write(tmp_path / "apps.jsonl", call())), "--applications", "2"]) == 2
    assert "hold only 1" in capsys.readouterr().err


def test_too_few_applications_to_predict_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(write(tmp_path / "apps.jsonl", call())), "--costs", "predictor"]) == 2
    assert capsys.readouterr().err == "justitia replay: --costs predictor: 1 applications are too few to learn from\n"
