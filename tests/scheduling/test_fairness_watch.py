"""What the watch says of applications whose shares the test works out."""

from collections.abc import Callable
from dataclasses import replace

from gateway.fairness.shares import SharesName
from gateway.fairness.units import ApplicationId, KvTokenTime, VirtualTime, Weight
from gateway.identity.classes import TenantClasses
from gateway.identity.terms import NO_LIMITS, TenantTerms
from gateway.ports import ApplicationRecord, Snapshot
from gateway.scheduling.fairness_watch import STAY_REMEMBERED_S, Delivery, FairnessReading, FairnessWatch, LongestStay

CLASSES = TenantClasses({"standard": 1000, "high": 2000})


def terms_of(tenant: str) -> TenantTerms:
    return TenantTerms(weight=Weight(2000)) if tenant == "payer" else NO_LIMITS


def open_application(
    name: str, start: float, cost: float, weight: int = 1000, service: float = 0.0
) -> ApplicationRecord:
    return ApplicationRecord(
        application_id=ApplicationId(name),
        tenant=name.partition("/")[0],
        kind="k",
        parent=None,
        weight=Weight(weight),
        predicted_cost=KvTokenTime(cost),
        service=KvTokenTime(service),
        virtual_start=VirtualTime(start),
        virtual_finish_time=VirtualTime(start + cost * 1000 / weight),
        arrived_at=0.0,
        last_seen_at=0.0,
    )


A = open_application("t/a", start=0.0, cost=100.0)
B = open_application("payer/b", start=50.0, cost=300.0, weight=2000, service=20.0)


class Watched:
    def __init__(self, *applications: ApplicationRecord, shares: SharesName = "application") -> None:
        self.watch = FairnessWatch(CLASSES, terms_of, shares)
        self.applications = applications
        self.delivered = 0.0
        self.busy: set[str] = {record.application_id for record in applications}

    def at(self, clock: float, delivered: float = 0.0, capacity: int = 1000, now: float = 0.0) -> FairnessReading:
        has_calls: Callable[[ApplicationId], bool] = self.busy.__contains__
        snapshot = Snapshot(VirtualTime(clock), (), self.applications)
        return self.watch.look(snapshot, has_calls, Delivery(delivered, capacity), now)


def test_nobody_is_there() -> None:
    reading = Watched().at(100.0)
    assert (reading.virtual_start_spread, reading.virtual_cost, reading.lag, reading.lateness) == (0, 0, 0, 0)
    assert reading.weight_by_class == {"standard": 0, "high": 0}


def test_spread_and_the_largest_virtual_cost() -> None:
    reading = Watched(replace(A, due=KvTokenTime(60.0)), replace(B, due=KvTokenTime(20.0))).at(60.0)
    assert reading.virtual_start_spread == 50.0
    assert reading.virtual_cost == 150.0  # 300 by weight 2
    assert reading.lag == 60.0  # a has had nothing of its 60; b had all of (60 - 50) * 2 = 20
    assert reading.weight_by_class == {"standard": 1.0, "high": 2.0}


def test_where_tenants_share_each_has_its_weight_once() -> None:
    applications = (A, B, open_application("t/c", start=0.0, cost=100.0), open_application("payer/d", 0.0, 100.0, 1500))
    reading = Watched(*applications, shares="tenant").at(10.0)
    assert reading.weight_by_class == {"standard": 1.0, "high": 2.0}


def test_who_starves_widens_the_spread_for_ever() -> None:
    """One that GPS has long finished waits, while newcomers are served."""
    watched = Watched(A)
    spreads = []
    for clock in (200.0, 400.0, 800.0):
        watched.applications = (A, open_application("t/new", start=clock, cost=10.0))
        spreads.append(watched.at(clock).virtual_start_spread)
    assert spreads == [200.0, 400.0, 800.0]


def test_who_is_done_in_gps_and_has_no_calls_counts_no_more() -> None:
    watched = Watched(A, B)
    watched.busy = set()
    reading = watched.at(120.0, delivered=1.0)
    assert reading.virtual_start_spread == 0.0
    assert reading.weight_by_class == {"standard": 0.0, "high": 2.0}  # b is unfinished in GPS
    assert reading.lateness == 0.0


def test_lateness_is_what_was_delivered_since_gps_finished_it() -> None:
    watched = Watched(A)
    assert watched.at(99.0, delivered=500.0).lateness == 0.0
    assert watched.at(100.0, delivered=510.0).lateness == 0.0  # its F: seen here for the first time
    assert watched.at(130.0, delivered=700.0).lateness == 190.0
    assert watched.at(130.0, delivered=900.0).lateness == 390.0  # V may stand still


def test_the_latest_counts() -> None:
    watched = Watched(A, open_application("t/c", start=0.0, cost=200.0))
    watched.at(100.0, delivered=0.0)
    watched.at(200.0, delivered=100.0)
    assert watched.at(300.0, delivered=150.0).lateness == 150.0


def test_each_stage_is_late_by_itself() -> None:
    watched = Watched(A)
    watched.at(100.0, delivered=0.0)
    assert watched.at(110.0, delivered=40.0).lateness == 40.0
    watched.busy = set()  # it works for itself
    assert watched.at(150.0, delivered=80.0).lateness == 0.0
    watched.busy = {"t/a"}
    assert watched.at(150.0, delivered=100.0).lateness == 0.0
    assert watched.at(150.0, delivered=130.0).lateness == 30.0


def test_one_whose_finish_moves_behind_the_clock_is_late_no_more() -> None:
    """It was predicted too small, and its F goes by what it has had."""
    watched = Watched(A)
    watched.at(100.0, delivered=0.0)
    watched.applications = (open_application("t/a", start=0.0, cost=400.0),)
    assert watched.at(110.0, delivered=40.0).lateness == 0.0


def test_the_bound_is_twice_the_memory_for_the_longest_stay() -> None:
    watched = Watched(A)
    assert watched.at(0.0).lateness_bound == 0.0  # nothing was answered yet
    watched.watch.stay.note(30, now=0.0)
    watched.watch.stay.note(20, now=1.0)
    assert watched.at(0.0, capacity=500, now=2.0).lateness_bound == 2 * 500 * 30


def test_answers_are_forgotten_between_one_quarter_of_an_hour_and_two() -> None:
    stay = LongestStay()
    stay.note(30, 10.0)
    assert stay.iterations(STAY_REMEMBERED_S + 10.0) == 30
    stay.note(20, STAY_REMEMBERED_S + 20.0)
    assert stay.iterations(2 * STAY_REMEMBERED_S - 1.0) == 30
    assert stay.iterations(2 * STAY_REMEMBERED_S) == 20
    assert stay.iterations(9 * STAY_REMEMBERED_S) == 0


def test_an_answer_before_a_long_silence_is_forgotten() -> None:
    stay = LongestStay()
    stay.note(30, 10.0)
    assert stay.iterations(5 * STAY_REMEMBERED_S) == 0
