"""`justitia engine`: the command line it becomes, and what it says when it cannot."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway import engine_command
from gateway.engine_command import engine_argv, engine_environment


def _value(argv: Sequence[str], flag: str) -> str:
    """The value vLLM would use: the last one given."""
    return argv[len(argv) - 1 - list(reversed(argv)).index(flag) + 1]


def test_the_patch_is_always_loaded() -> None:
    for has_gpu in (True, False):
        argv = engine_argv("some/model", [], has_gpu=has_gpu)
        assert argv[:4] == ["-m", "vllm.entrypoints.openai.api_server", "--model", "some/model"]
        assert _value(argv, "--scheduling-policy") == "priority"
        assert _value(argv, "--scheduler-cls") == "engine_patch.scheduler.JustitiaScheduler"
        assert _value(argv, "--middleware") == "engine_patch.routes.JustitiaRoutes"


def test_a_gpu_needs_nothing_more_and_a_cpu_does() -> None:
    assert "--enforce-eager" not in engine_argv("m", [], has_gpu=True)
    on_cpu = engine_argv("m", [], has_gpu=False)
    assert "--enforce-eager" in on_cpu
    assert _value(on_cpu, "--block-size") == "32"


def test_the_users_flags_come_last_and_win() -> None:
    flags = ["--block-size", "64", "--scheduling-policy", "fcfs", "--no-enforce-eager", "--port", "1"]
    argv = engine_argv("m", flags, has_gpu=False)
    assert argv[-len(flags) :] == flags
    assert (_value(argv, "--block-size"), _value(argv, "--scheduling-policy")) == ("64", "fcfs")


def test_tiny_is_served_from_its_folder_under_its_name() -> None:
    argv = engine_argv("tiny", [], has_gpu=False, tiny_folder=Path("/somewhere/tiny-1"))
    assert _value(argv, "--model") == "/somewhere/tiny-1"
    assert (_value(argv, "--served-model-name"), _value(argv, "--load-format")) == ("tiny", "dummy")


def test_tiny_on_a_cpu_is_one_process() -> None:
    """vLLM's worker process for CPUs starves the HTTP server of a machine with two cores."""
    executor = "--distributed-executor-backend"
    on_cpu = engine_argv("tiny", [], has_gpu=False, tiny_folder=Path("/somewhere/tiny-1"))
    assert _value(on_cpu, executor).endswith(".UniProcExecutor")
    assert executor not in engine_argv("tiny", [], has_gpu=True, tiny_folder=Path("/somewhere/tiny-1"))
    assert executor not in engine_argv("some/model", [], has_gpu=False)


def test_the_environment_is_completed_never_overruled() -> None:
    given = {"VLLM_CPU_KVCACHE_SPACE": "9", "PATH": "/bin"}
    assert engine_environment(given, has_gpu=False, is_tiny=False, is_cpu_build=True) == given
    tiny = engine_environment({}, has_gpu=False, is_tiny=True, is_cpu_build=True)
    assert (tiny["VLLM_CPU_KVCACHE_SPACE"], tiny["HF_HUB_OFFLINE"], tiny["OMP_NUM_THREADS"]) == ("1", "1", "1")
    assert engine_environment({}, has_gpu=True, is_tiny=False, is_cpu_build=False) == {}
    assert engine_environment({}, has_gpu=False, is_tiny=False, is_cpu_build=False)["VLLM_TARGET_DEVICE"] == "cpu"


def test_it_becomes_the_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    became: list[tuple[str, list[str], dict[str, str]]] = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "justitia" / "tiny-1").mkdir(parents=True)
    (tmp_path / "justitia" / "tiny-1" / "config.json").write_text("{}")
    monkeypatch.setattr(engine_command.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(os, "execvpe", lambda *arguments: became.append(arguments))
    engine_command.run(["tiny", "--port", "7"])
    [(program, argv, environment)] = became
    assert argv[0] == program
    assert argv[-2:] == ["--port", "7"]
    assert _value(argv, "--model") == str(tmp_path / "justitia" / "tiny-1")
    assert environment["VLLM_NO_USAGE_STATS"] == "1"


@pytest.mark.parametrize(("argv", "code"), [(["--help"], 0), (["-h"], 0), ([], 2), (["--port", "1"], 2)])
def test_help_and_misuse(argv: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert engine_command.run(argv) == code
    output = capsys.readouterr()
    if code == 0:
        assert "justitia engine tiny --port 8000" in output.out
    else:
        assert output.out == ""
        assert "justitia engine" in output.err


def test_a_missing_engine_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine_command.importlib.util, "find_spec", lambda name: None)
    assert engine_command.run(["tiny"]) == 2
    message = capsys.readouterr().err
    assert "justitia-gateway[engine]" in message
    assert "justitia-gateway[engine-cpu]" in message


def test_a_cache_that_cannot_be_written_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(in_the_way))
    monkeypatch.setattr(engine_command.importlib.util, "find_spec", lambda name: name)
    assert engine_command.run(["tiny"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
