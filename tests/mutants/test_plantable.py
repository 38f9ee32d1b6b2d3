"""Code moves on: a fault that cannot be planted any more guards nothing."""

import shlex

import pytest

from tests.mutants.run import ROOT, Fault, load_faults

FAULTS = load_faults([])


@pytest.mark.parametrize("file", sorted({fault.file for fault in FAULTS}))
def test_every_fault_can_be_planted(file: str) -> None:
    code = (ROOT / file).read_text()
    assert {
        fault.why: code.count(fault.old) for fault in FAULTS if fault.file == file and code.count(fault.old) != 1
    } == {}


def test_every_fault_has_tests_that_are_there() -> None:
    def is_there(fault: Fault) -> bool:
        return all((ROOT / word.partition("::")[0]).exists() for word in shlex.split(fault.tests) if "tests/" in word)

    assert [fault.why for fault in FAULTS if not is_there(fault) or fault.new == fault.old] == []
