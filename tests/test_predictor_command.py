"""`justitia predictor report`, `justitia train` and `justitia replay --costs predictor`, on made-up applications."""

import asyncio
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.fairness.units import KvTokenTime
from gateway.learning.examples import of_recorded, progress_of
from gateway.learning.training import NOTHING_BETTER, TrainingProcess
from gateway.ports import ClosedApplication, Progress, ShelfMark
from gateway.settings import Settings
from gateway.storage import storage_of
from gateway.workloads.sample import sample_applications
from gateway.workloads.traces import RecordedApplication, RecordedCall
from predictor import report
from predictor.artifacts import load


@pytest.fixture
def few_models(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: report.MODELS[name] for name in ("kind mean", report.DEFAULT)}
    monkeypatch.setattr(report, "MODELS", few)


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


# --- report -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("few_models")
def test_a_table_with_every_model_and_kind(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predictor", "report", "--traces", str(traces)]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert len(lines) == 2 * (1 + 4)
    assert lines[0].split()[:4] == ["kind", "mean", "all", "40"]


@pytest.mark.usefixtures("few_models")
def test_one_object_each_with_the_fields_of_the_contract(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predictor", "report", "--traces", str(traces), "--by-task", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    fields = {"median_relative_error", "mean_abs_log_error", "spearman", "p90_over", "p90_under"}
    assert all(fields <= row.keys() for row in rows)
    assert {row["model"] for row in rows} == {"kind mean", report.DEFAULT}
    assert all({"latency_p50_ms", "latency_p99_ms"} <= row.keys() for row in rows if row["model"] == report.DEFAULT)


@pytest.mark.usefixtures("few_models")
def test_an_artifact_is_judged_and_drawn(traces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--traces", str(traces), "--out", str(tmp_path / "artifact")]) == 0
    arguments = ["--artifact", str(tmp_path / "artifact"), "--figures", str(tmp_path / "pictures")]
    assert main(["predictor", "report", "--traces", str(traces), *arguments]) == 0
    assert "artifact" in capsys.readouterr().out
    pictures = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert pictures == ["errors.png", "predicted.png"]
    assert all((tmp_path / "pictures" / name).read_bytes().startswith(b"\x89PNG") for name in pictures)


def test_bad_files_are_one_line(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = traces.with_name("few.jsonl")
    few.write_text("".join(traces.read_text().splitlines(keepends=True)[:5]))
    foreign = traces.with_name("foreign")
    foreign.mkdir()
    (foreign / "model.safetensors").write_bytes(b"rubbish")
    (foreign / "model.json").write_text("{}")
    for arguments, reason in (
        ([str(few)], "5 applications are too few"),
        ([str(traces.with_name("none"))], "No such file"),
        ([str(traces), "--artifact", str(traces.with_name("none"))], "No such file"),
        ([str(traces), "--artifact", str(foreign)], "no model"),
    ):
        assert main(["predictor", "report", "--traces", *arguments]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert reason in line


# --- train ------------------------------------------------------------------------------------------------------------


def test_what_is_trained_says_how_good_it_is(traces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--traces", str(traces), "--out", str(tmp_path / "artifact")]) == 0
    about = load(tmp_path / "artifact").about
    assert about["examples"] == 40
    assert about["mean_abs_log_error"] > 0
    assert f"{about['mean_abs_log_error']:.3f}" in capsys.readouterr().out


def telling(count: int) -> list[RecordedApplication]:
    """Their cost goes with the length of their prompt."""
    draw = random.Random(5)
    calls = [RecordedCall(0, (), None, 0.0, draw.randint(50, 4000), 20) for _ in range(count)]
    return [RecordedApplication(f"{number}", "k", (call,)) for number, call in enumerate(calls)]


def closed(application: RecordedApplication, cost: float | None = None) -> ClosedApplication:
    [example] = of_recorded([application])
    return ClosedApplication(
        1.0,
        application.kind,
        KvTokenTime(1.0),
        None,
        None,
        "mean",
        KvTokenTime(cost or example.cost),
        example.features.without_words().as_json(),
        tuple(progress_of(application)),
    )


def keep(applications: Sequence[ClosedApplication]) -> None:
    async def append() -> None:
        history = storage_of(Settings()).history()
        for one in applications:
            await history.append(one)
        await history.aclose()

    asyncio.run(append())


def mark() -> ShelfMark | None:
    return asyncio.run(storage_of(Settings()).shelf().mark())


def test_the_gateways_own_record_is_learnt_and_published(capsys: pytest.CaptureFixture[str]) -> None:
    keep([closed(application) for application in telling(60)])
    assert main(["train", "--publish"]) == 0
    published = mark()
    assert published is not None
    assert f"published: {published.version}" in capsys.readouterr().out


def test_what_is_no_better_than_the_mean_is_not_published(capsys: pytest.CaptureFixture[str]) -> None:
    """All cost the same, whatever they look like: the mean is right every time."""
    keep([closed(application, 1000.0) for application in sample_applications(40, seed=2)])
    assert main(["train", "--publish"]) == NOTHING_BETTER
    assert "no better" in capsys.readouterr().err
    assert mark() is None


async def test_a_gateway_has_it_done_in_a_process_of_its_own() -> None:
    history = storage_of(Settings()).history()
    for application in telling(60):
        await history.append(closed(application))
    assert await TrainingProcess({})()
    assert await storage_of(Settings()).shelf().mark() is not None


async def test_training_that_fails_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not await TrainingProcess({"JUSTITIA_LEARNING__FOLDER": str(tmp_path / "empty")})()
    assert "0 applications are too few" in caplog.text


async def test_training_that_cannot_be_started_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sys.executable", "/none/python")
    assert not await TrainingProcess({})()
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert not await TrainingProcess({})()
    assert "could not be started" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "say --out DIR, --publish or both"),
        (["--publish"], "0 applications are too few"),
        (["--traces", "/none", "--out", "x"], "No such file"),
        (["--publish", "--redis", "rubbish"], "a Redis URL begins with"),
        (["--publish", "--redis", "unix:///none"], "cannot be used"),
        (["--publish", "--config", "/none"], "no such file"),
    ],
)
def test_what_cannot_be_trained_is_one_line(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert reason in line


# --- progress ---------------------------------------------------------------------------------------------------------


def test_progress_is_what_a_gateway_would_have_seen() -> None:
    def call(number: int, *after: int, prompt: int = 10) -> RecordedCall:
        return RecordedCall(number, after, None, 0.0, prompt, 2)

    calls = (call(0), call(1, 0, prompt=20), call(2, 0, prompt=30), call(3, 1, 2))
    each = 10 * 2 + 3
    assert progress_of(RecordedApplication("a", "k", calls)) == [
        Progress(1, 2, 50, each),  # type: ignore[arg-type]
        Progress(2, 1, 30, each + 43),  # type: ignore[arg-type]
        Progress(3, 1, 10, each + 43 + 63),  # type: ignore[arg-type]
    ]


# --- replay -----------------------------------------------------------------------------------------------------------


def test_a_replay_by_what_is_predicted(
    traces: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vllm_config: Any
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = {}
    for costs in ("oracle", "predictor"):
        assert main(["replay", str(traces), "--policy", "justitia", "--costs", costs, "--window-s", "5", "--json"]) == 0
        found[costs] = json.loads(capsys.readouterr().out)["mean_jct_s"]
    assert found["oracle"] < found["predictor"]
