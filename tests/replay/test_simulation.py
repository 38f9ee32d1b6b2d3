"""The event loop, on vLLM's real scheduler: times by hand, order by policy, nothing lost, the same every time."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from gateway.fairness.policies import PolicyName
from gateway.fairness.shares import SHARES_NAMES, SharesName
from gateway.fairness.units import ApplicationId, KvTokenTime
from gateway.ports import Progress
from gateway.replay.costs import oracle
from gateway.replay.measures import lateness_to_gps, measures, ratios_to
from gateway.replay.model import Charging, Refine, Run, SimulatedApplication, Timing, as_measured
from gateway.replay.prompts import Prompts
from gateway.replay.simulation import Simulation
from gateway.replay.step_time import StepTime
from gateway.workloads.sample import sample_applications
from gateway.workloads.traces import RecordedApplication, RecordedCall
from gateway.workloads.workload import poisson_arrivals

STEP = StepTime(base_s=1.0, per_token_s=0.01, per_kv_token_s=0.001)
TRANSIT_S = 0.25
MAX_LEN = 1024

Simulate = Callable[..., Run]


@pytest.fixture
def simulate(vllm_config: Any, structured_output_manager: Any) -> Simulate:
    def run(
        applications: Sequence[RecordedApplication],
        arrivals_s: Sequence[float],
        policy: PolicyName = "justitia",
        *,
        costs: Sequence[float] | None = None,
        are_shared: bool = False,
        step: StepTime = STEP,
        charging: Charging = as_measured,
        refine: Refine | None = None,
        every_s: float | None = None,
        shares: SharesName = "application",
    ) -> Run:
        from engine_patch.simulated import PLAIN_TOKEN, SimulatedEngine

        engine = SimulatedEngine(
            (vllm_config, structured_output_manager),
            num_blocks=64,
            block_size=16,
            max_num_seqs=8,
            token_budget=2048,
            has_prefix_caching=are_shared,
        )
        prompts = Prompts(PLAIN_TOKEN, MAX_LEN, are_shared=are_shared)
        prepared = [
            SimulatedApplication(
                ApplicationId(application.app_id),
                application.kind,
                arrives_at,
                application.calls,
                prompts.of(application),
                KvTokenTime(cost),
                application.tenant,
            )
            for application, arrives_at, cost in zip(
                applications, arrivals_s, costs or oracle(applications), strict=True
            )
        ]
        return Simulation(
            prepared,
            policy,
            engine,
            Timing(step, transit_s=TRANSIT_S),
            margin=4,
            charging=charging,
            refine=refine,
            shares=shares,
            moments_every_s=every_s,
        ).run()

    return run


def application(name: str, *calls: RecordedCall) -> RecordedApplication:
    return RecordedApplication(name, name.rstrip("0123456789"), calls, "What was asked.")


def one_call(prompt_tokens: int, completion_tokens: int, **fields: Any) -> RecordedCall:
    return RecordedCall(
        **{"call_id": 0, "after": (), "extends": None, "delay_s": 0.0, **fields},
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
    )


def test_one_call_alone_takes_its_steps_and_no_more(simulate: Simulate) -> None:
    run = simulate([application("a", one_call(30, 3))], [10.0])
    # It has 30 tokens computed in the first step; what it has in memory is read in each.
    steps = (1 + 0.30 + 0.030) + (1 + 0.01 + 0.031) + (1 + 0.01 + 0.032)
    assert run.completions[0].finished_at == pytest.approx(10.0 + TRANSIT_S + steps)
    assert (run.num_steps, run.preemptions) == (3, 0)
    # Two blocks of 16 over three iterations; the third token is never computed upon.
    assert run.completions[0].service == 3 * 32


def test_a_call_waits_for_those_before_it_and_for_its_tool(simulate: Simulate) -> None:
    first = one_call(16, 1)
    alone = simulate([application("a", first)], [0.0]).completions[0].jct_s
    second = one_call(16, 1, call_id=1, after=(0,), delay_s=7.0)
    both = simulate([application("a", first, second)], [0.0]).completions[0].jct_s
    assert both == pytest.approx(2 * alone + 7.0)


def test_the_policy_decides_who_waits(simulate: Simulate) -> None:
    """A large application fills the memory, another large one and a small one come in that order."""
    large = [one_call(200, 100, call_id=number) for number in range(6)]
    workload = [application("first", *large), application("second", *large), application("small", one_call(200, 20))]
    finished = {}
    for policy in ("fcfs", "justitia"):
        run = simulate(workload, [0.0, 1.0, 2.0], policy)
        finished[policy] = [
            completion.application_id for completion in sorted(run.completions, key=lambda c: c.finished_at)
        ]
    assert finished["fcfs"].index("small") > finished["fcfs"].index("first")
    assert finished["justitia"] == ["small", "first", "second"]


def test_where_tenants_share_a_crowd_waits_for_itself(simulate: Simulate) -> None:
    """Fourteen of one tenant, each a little smaller than the one of another that comes with them."""
    crowd = [replace(application(f"crowd{n:02}", one_call(200, 60)), tenant="crowd") for n in range(14)]
    one = replace(application("one", one_call(200, 70)), tenant="other")
    finished = {}
    for shares in SHARES_NAMES:
        run = simulate([*crowd, one], [0.0] * 15, "justitia", shares=shares)
        finished[shares] = [done.kind for done in sorted(run.completions, key=lambda done: done.finished_at)]
        assert [completion.tenant for completion in run.completions] == ["crowd"] * 14 + ["other"]
    assert finished["application"][-1] == "one"
    assert finished["tenant"].index("one") <= 5


def test_pieces_of_one_tenant_gain_nothing_on_another(simulate: Simulate) -> None:
    calls = [one_call(200, 60, call_id=number) for number in range(8)]
    other = replace(application("other", *(one_call(200, 60, call_id=number) for number in range(6))), tenant="other")
    whole = simulate([replace(application("job", *calls), tenant="cutter"), other], [0.0, 0.0], shares="tenant")
    pieces = [replace(application(f"piece{n}", call), tenant="cutter") for n, call in enumerate(calls)]
    end_of_whole = whole.completions[0].finished_at
    for shares, is_sooner in (("tenant", False), ("application", True)):
        cut = simulate([*pieces, other], [0.0] * 9, shares=shares)
        end_of_pieces = max(completion.finished_at for completion in cut.completions[:-1])
        assert (end_of_pieces < 0.9 * end_of_whole) is is_sooner


def test_a_newcomer_moves_its_tenants_others_behind_another_tenants(simulate: Simulate) -> None:
    """The first two fill the memory. Of those that wait, a's call is a little smaller than b's, one more of a's smaller
    than both; then two of the three fit."""
    first = [replace(application(f"first{n}", one_call(400, 60)), tenant="z") for n in range(2)]
    a, b = (replace(application(name, one_call(400, output)), tenant=name) for name, output in (("a", 100), ("b", 110)))
    more = replace(application("more", one_call(400, 90)), tenant="a")
    for workload, is_before in (([*first, a, b], True), ([*first, a, b, more], False)):
        run = simulate(workload, [0.0, 0.0, 1.0, 1.0, 2.0][: len(workload)], shares="tenant")
        ended = {completion.application_id: completion.finished_at for completion in run.completions}
        assert (ended["a"] < ended["b"]) is is_before


def test_lag_where_tenants_share(simulate: Simulate) -> None:
    run = simulate(
        [replace(application(name, one_call(100, 40)), tenant="x") for name in ("a", "b")],
        [0.0, 0.0],
        every_s=5.0,
        shares="tenant",
    )
    assert len(run.moments) > 2
    assert all(set(moment.lag) <= {"a", "b"} for moment in run.moments)


def test_what_is_seen_as_it_runs_moves_it(simulate: Simulate) -> None:
    """Both are taken for small. After its first call one is seen to be large, and lets the other pass."""
    stage = [one_call(200, 60, call_id=number, after=(0,)) for number in range(1, 12)]
    workload = [application("large", one_call(16, 4), *stage), application("other", *stage[:6])]
    workload[1] = application("other", *(one_call(200, 60, call_id=number) for number in range(6)))
    asked: list[Progress] = []

    def seen(application_id: ApplicationId, progress: Progress) -> KvTokenTime | None:
        if application_id == "large":
            asked.append(progress)
            return KvTokenTime(1e9)
        return None

    def who_is_last(refine: Refine | None) -> str:
        run = simulate(workload, [0.0, 2.0], costs=[5e3, 1e6], refine=refine)
        return max(run.completions, key=lambda completion: completion.finished_at).application_id

    assert who_is_last(None) == "other"
    assert who_is_last(seen) == "large"
    assert (asked[0].num_ended, asked[0].num_open, asked[0].open_prompt_tokens) == (1, 1, 200)
    assert asked[-1].num_ended == 11


def test_shared_prefixes_are_computed_once(simulate: Simulate) -> None:
    first = one_call(320, 1)
    second = one_call(330, 1, call_id=1, after=(0,), extends=0)
    apart = simulate([application("a", first, second)], [0.0], are_shared=False).completions[0].jct_s
    shared = simulate([application("a", first, second)], [0.0], are_shared=True).completions[0].jct_s
    assert apart - shared == pytest.approx(0.01 * 320)


@pytest.mark.parametrize("policy", ["justitia", "fcfs", "vtc", "las", "srjf", "sjf", "app-fcfs"])
def test_everybody_finishes_and_the_account_adds_up(simulate: Simulate, policy: PolicyName) -> None:
    workload = sample_applications(40, seed=3)
    run = simulate(workload, poisson_arrivals(40, 30.0, seed=3), policy, step=StepTime(0.02, 1e-5, 1e-7))
    assert all(completion.jct_s > 0 for completion in run.completions)
    assert len(run.completions) == 40
    served = sum(completion.service for completion in run.completions)
    assert served == pytest.approx(max(completion.service_at_finish for completion in run.completions), rel=0.01)


def test_the_same_workload_gives_the_same_run(simulate: Simulate) -> None:
    workload, arrivals_s = sample_applications(30, seed=5), poisson_arrivals(30, 5.0, seed=5)
    assert simulate(workload, arrivals_s) == simulate(workload, arrivals_s)


def test_lateness_to_the_fluid_server_by_hand(simulate: Simulate) -> None:
    """Alone, an application is never late; and two at once finish, one before and one with the fluid server."""
    alone = simulate([application("a", one_call(160, 10))], [0.0])
    assert lateness_to_gps(alone) == pytest.approx([0.0], abs=1.0)
    both = simulate([application("a", one_call(480, 100)), application("b", one_call(480, 100))], [0.0, 0.0])
    early, late = sorted(lateness_to_gps(both))
    assert early <= 0
    assert late <= both.completions[0].service


def test_measures_compare_with_vtc(simulate: Simulate) -> None:
    workload, arrivals_s = sample_applications(20, seed=2), poisson_arrivals(20, 5.0, seed=2)
    vtc, ours = (simulate(workload, arrivals_s, policy) for policy in ("vtc", "justitia"))
    report = measures(ours, vtc)
    ratios = ratios_to(ours, vtc)
    assert report.worst_ratio_to_vtc == pytest.approx(max(ratios), abs=1e-3)
    assert report.share_later_than_vtc == sum(ratio > 1 for ratio in ratios) / 20
    assert sum(kind.applications for kind in report.by_kind.values()) == 20
    assert measures(vtc).share_later_than_vtc is None


def test_with_all_calls_at_once_nobody_is_later_than_the_bound(simulate: Simulate) -> None:
    """On vLLM's scheduler, with its blocks, its preemptions and our readings of it, which the derivation leaves out."""
    elephant = application("elephant", *(one_call(100, 40, call_id=number) for number in range(80)))
    workload = [elephant, *(application(f"mouse{number}", one_call(60, 10)) for number in range(60))]
    arrivals_s = [0.0, *(1.0 + 8.0 * number for number in range(60))]
    ours, fcfs = (measures(simulate(workload, arrivals_s, policy)) for policy in ("justitia", "fcfs"))
    assert ours.worst_lateness_to_gps <= ours.delay_bound
    assert fcfs.worst_lateness_to_gps > 2 * fcfs.delay_bound


def test_what_is_charged_decides_the_order_and_not_what_was_held(simulate: Simulate) -> None:
    """Charged nothing, an application that was predicted far too small keeps its place in front."""
    liar = application("liar", *(one_call(200, 60, call_id=number) for number in range(20)))
    honest = [application(f"honest{number}", one_call(200, 60)) for number in range(4)]
    arrivals_s = [0.0, *(2.0 + number for number in range(4))]
    costs = [1.0, *oracle(honest)]
    charged, free = (
        simulate([liar, *honest], arrivals_s, costs=costs, charging=charging)
        for charging in (as_measured, lambda _: KvTokenTime(0.0))
    )
    assert charged.completions[0].jct_s > free.completions[0].jct_s
    assert measures(charged).mean_jct_s < measures(free).mean_jct_s
    assert sum(c.service for c in free.completions) == pytest.approx(
        sum(c.service for c in charged.completions), rel=0.1
    )


def test_moments_tell_service_and_lag(simulate: Simulate) -> None:
    run = simulate([application("a", one_call(30, 30)), application("b", one_call(30, 30))], [0.0, 0.0], every_s=5.0)
    first, second, *_ = run.moments
    assert (first.at_s, first.service) == (0.0, {"a": 0.0, "b": 0.0})
    assert second.at_s == 5.0
    # The first step begins before b is there; two blocks of 16 a step, and a third with the 33rd token of a.
    assert second.service == {"a": 3 * 32.0 + 48.0, "b": 3 * 32.0}
    # The clock is read now and then, so it knows of no more than that.
    assert -144.0 <= second.lag["a"] <= 0
    assert simulate([application("a", one_call(30, 3))], [0.0]).moments == ()


def test_a_stay_begins_with_the_latest_admission(simulate: Simulate) -> None:
    """Two calls of 480 tokens fill all but four blocks; they grow, the second is preempted and waits for the first."""
    run = simulate([application("a", one_call(480, 60)), application("b", one_call(480, 60))], [0.0, 0.0])
    assert run.preemptions > 0
    first, second = run.completions
    assert second.finished_at - first.finished_at > 20
    assert 60 <= run.longest_stay <= 62
