"""What `justitia serve` refuses before it serves anything."""

import pytest

from gateway import cli


def refusal(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    assert cli.main(["serve", *flags]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def test_no_engine(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no engine: say --engine URL" in refusal(capsys)


def test_workers_that_would_not_share_their_state(capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(capsys, "--engine", "http://127.0.0.1:1", "--workers", "2")
    assert line.startswith("justitia serve: 2 workers would not share their state: say --redis URL")


def test_workers_in_the_environment_are_refused_alike(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUSTITIA_SERVER__WORKERS", "3")
    assert "3 workers would not share" in refusal(capsys, "--engine", "http://127.0.0.1:1")


@pytest.mark.parametrize("number", ["0", "65"])
def test_an_impossible_number_of_workers(capsys: pytest.CaptureFixture[str], number: str) -> None:
    assert f"setting server.workers = {number}" in refusal(capsys, "--workers", number)
