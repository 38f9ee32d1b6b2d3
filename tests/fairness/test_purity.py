"""The package is pure: what it loads, and that its head tells the truth."""

import doctest
import json
import subprocess
import sys

import gateway.fairness


def test_importing_it_loads_nothing_but_itself_and_the_standard_library() -> None:
    code = (
        "import json, sys; before = set(sys.modules); import gateway.fairness; "
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = json.loads(answer.stdout)
    assert "gateway.fairness.virtual_clock" in loaded
    ours = {"gateway", "gateway.fairness"}
    for name in loaded:
        assert name in ours or name.startswith("gateway.fairness.") or name.partition(".")[0] in sys.stdlib_module_names


def test_importing_it_loads_no_clock_no_log_and_no_loop() -> None:
    """What the standard library itself pulls in (os, time) cannot be told apart here; import-linter does that."""
    code = "import sys, gateway.fairness; print([m for m in ('asyncio', 'logging', 'random') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == "[]"


def test_the_worked_example_in_the_head_of_the_package_is_true() -> None:
    result = doctest.testmod(gateway.fairness)
    assert result.attempted == 5
    assert result.failed == 0


def test_everything_it_promises_is_there() -> None:
    assert all(hasattr(gateway.fairness, name) for name in gateway.fairness.__all__)
