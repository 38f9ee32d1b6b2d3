"""Recipes are values, and what a seed draws from one is what it says."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import workloads
from benchmarks.workloads import Recipe, as_possible, drawn
from gateway.replay.costs import oracle
from gateway.workloads.traces import RecordedApplication

SAMPLE = Recipe("sample", count=60, arrivals="poisson")


@pytest.fixture(autouse=True)
def _no_recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is in a clone on its own; what the recordings are read with has its own tests."""
    monkeypatch.setattr(workloads, "TRACES", Path("/nowhere"))
    monkeypatch.setattr(workloads, "have_recordings", lambda: False)


def test_equal_recipes_and_seeds_are_equal_workloads_with_one_fingerprint() -> None:
    assert hash(SAMPLE) == hash(Recipe("sample", count=60, arrivals="poisson"))
    one, again, other = drawn(SAMPLE, 1)[0], drawn(replace(SAMPLE), 1)[0], drawn(SAMPLE, 2)[0]
    assert one == again
    assert hash(one) == hash(again)
    assert one.fingerprint == again.fingerprint != other.fingerprint
    assert one.fingerprint == "ad4fcec227f9f741"  # on any machine


def test_a_crowd_has_its_share_of_the_applications_and_four_others_the_rest() -> None:
    plain, shared = drawn(SAMPLE, 1)[0], drawn(replace(SAMPLE, crowd=0.5), 1)[0]
    tenants = [one.tenant or "" for one in shared.applications]
    assert sorted(tenants.count(name) for name in set(tenants)) == [7, 7, 8, 8, 30]
    assert tuple(replace(one, tenant=None) for one in shared.applications) == plain.applications
    assert plain.fingerprint != shared.fingerprint


def test_the_largest_job_can_come_with_all_its_calls_at_once() -> None:
    whole, pieces = (drawn(replace(SAMPLE, job_at_once=True, pieces=pieces), 1)[0] for pieces in (1, 3))
    [job] = [one for one in whole.applications if one.kind == "piece"]
    cut = [one for one in pieces.applications if one.kind == "piece"]
    assert all(not call.after for call in job.calls)
    assert sorted(call.call_id for one in cut for call in one.calls) == sorted(call.call_id for call in job.calls)
    assert {one.tenant for one in [job, *cut]} == {"cutter"}


def test_without_recordings_our_own_sample_stands_for_them() -> None:
    assert as_possible(Recipe("suite", tool_wait_s=2.0)) == Recipe("sample", tool_wait_s=2.0, arrivals="poisson")
    assert as_possible(Recipe("suite", arrivals="bursts")) == Recipe("sample", arrivals="bursts")
    assert as_possible(Recipe("task parallel")) == Recipe("task parallel", arrivals="poisson")


def test_density_brings_the_same_applications_sooner() -> None:
    slow, fast = drawn(SAMPLE, 1)[0], drawn(replace(SAMPLE, density=3.0), 1)[0]
    assert slow.applications == fast.applications
    assert fast.arrivals_s == pytest.approx([at / 3 for at in slow.arrivals_s])


def test_bursts_come_ten_at_a_time() -> None:
    arrivals_s = drawn(Recipe("sample", count=30, window_s=60.0, arrivals="bursts"), 1)[0].arrivals_s
    assert [arrivals_s.count(at) for at in (0.0, 20.0, 40.0)] == [10, 10, 10]


def test_tools_make_only_later_calls_wait() -> None:
    plain, slow = (
        [call for one in drawn(recipe, 1)[0].applications for call in one.calls]
        for recipe in (SAMPLE, replace(SAMPLE, tool_wait_s=10.0))
    )
    added = [after.delay_s - before.delay_s for before, after in zip(plain, slow, strict=True) if before.after]
    assert all(after.delay_s == before.delay_s for before, after in zip(plain, slow, strict=True) if not before.after)
    assert 8 < sum(added) / len(added) < 12


def test_at_once_nobody_waits_for_anybody() -> None:
    calls = [call for one in drawn(replace(SAMPLE, at_once=True), 1)[0].applications for call in one.calls]
    assert not any(call.after or call.delay_s or call.extends is not None for call in calls)


def test_a_job_in_pieces_is_the_same_work() -> None:
    whole, parts = drawn(SAMPLE, 1)[0], drawn(replace(SAMPLE, pieces=4), 1)[0]
    pieces = [(one, at) for one, at in zip(parts.applications, parts.arrivals_s, strict=True) if one.kind == "piece"]
    assert len(pieces) == 4
    assert len({at for _, at in pieces}) == 1
    assert len(parts.applications) == len(whole.applications) + 3

    def work(applications: Sequence[RecordedApplication]) -> list[tuple[int, int]]:
        return sorted((c.prompt_tokens, c.completion_tokens) for one in applications for c in one.calls)

    assert work(parts.applications) == work(whole.applications)


def test_the_elephant_costs_twenty_mice() -> None:
    elephant, *mice = oracle(drawn(Recipe("elephant among mice", count=5), 1)[0].applications)
    assert len(mice) == 5
    assert elephant / mice[0] == pytest.approx(20, abs=0.5)


def test_the_task_parallel_mix_has_the_papers_shares() -> None:
    kinds = [one.kind for one in drawn(Recipe("task parallel", arrivals="poisson"), 1)[0].applications]
    assert [kinds.count(kind) for kind in ("self_consistency", "map_reduce", "document_merging")] == [216, 78, 6]
