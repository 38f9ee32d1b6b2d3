"""`justitia predictor report` and `justitia replay --costs predictor`, with a network trained for a moment only."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.workloads.sample import sample_applications
from predictor import report
from predictor.baselines import BASELINES
from predictor.network import trained


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    network = {"network": lambda examples: trained(examples, num_steps=10).log_costs}
    monkeypatch.setattr(report, "MODELS", {"kind mean": BASELINES["kind mean"], **network})


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    path = tmp_path / "runs.jsonl"
    fields = ("after", "extends", "delay_s", "prompt_tokens", "completion_tokens")
    lines = [
        {
            "app_id": one.app_id,
            "app_type": one.kind,
            "input_text": one.input_text,
            "calls": [{"id": call.call_id, **{field: getattr(call, field) for field in fields}} for call in one.calls],
        }
        for one in sample_applications(40, seed=1)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_table_with_every_model_and_kind(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predictor", "report", "--traces", str(traces)]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert len(lines) == 2 * (1 + 4)
    assert lines[0].split()[:4] == ["kind", "mean", "all", "40"]


def test_one_object_each_with_the_fields_of_the_contract(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predictor", "report", "--traces", str(traces), "--by-task", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    fields = {"median_relative_error", "mean_abs_log_error", "spearman", "p90_over", "p90_under"}
    assert all(fields <= row.keys() for row in rows)
    assert {row["model"] for row in rows} == {"kind mean", "network"}


def test_bad_files_are_one_line(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = traces.with_name("few.jsonl")
    few.write_text("".join(traces.read_text().splitlines(keepends=True)[:5]))
    for path, reason in ((few, "5 applications are too few"), (traces.with_name("none"), "No such file")):
        assert main(["predictor", "report", "--traces", str(path)]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert reason in line


def test_a_replay_by_what_is_predicted(
    traces: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vllm_config: Any
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = {}
    for costs in ("oracle", "predictor"):
        assert main(["replay", str(traces), "--policy", "justitia", "--costs", costs, "--window-s", "5", "--json"]) == 0
        found[costs] = json.loads(capsys.readouterr().out)["mean_jct_s"]
    assert found["oracle"] < found["predictor"]
