"""When to go back, when to train, and what means are."""

import pytest

from gateway.fairness.units import KvTokenTime
from gateway.learning.means import RunningMeans
from gateway.learning.schedule import MIN_APPLICATIONS, is_due
from gateway.learning.watch import MIN_SEEN, WINDOW, Watch


def watched(served: float, rivals: dict[str, float], count: int = MIN_SEEN) -> Watch:
    watch = Watch()
    for _ in range(count):
        watch.note(served, rivals)
    return watch


def test_chance_does_not_decide() -> None:
    assert watched(2.0, {"mean": 0.1}, MIN_SEEN - 1).better_rival() is None
    assert watched(2.0, {"mean": 0.1}, MIN_SEEN - 1).mean_error is None
    assert watched(2.0, {"mean": 0.1}).better_rival() == "mean"


def test_a_rival_that_was_hardly_asked_decides_nothing() -> None:
    watch = watched(1.0, {}, MIN_SEEN)
    for _ in range(MIN_SEEN - 1):
        watch.note(1.0, {"previous": 0.1})
    assert watch.better_rival() is None
    watch.note(1.0, {"previous": 0.1})
    assert watch.better_rival() == "previous"


def test_a_rival_must_be_better_by_far_and_the_best_is_named() -> None:
    assert watched(0.5, {"mean": 0.47}).better_rival() is None
    assert watched(0.5, {"mean": 0.4, "previous": 0.3}).better_rival() == "previous"
    assert watched(0.3, {"mean": 0.4, "previous": 0.5}).better_rival() is None


def test_harder_traffic_is_no_reason() -> None:
    watch = watched(0.3, {"mean": 0.4})
    for _ in range(WINDOW):
        watch.note(3.0, {"mean": 4.0})
    assert watch.better_rival() is None
    assert watch.mean_error == 3.0


def test_what_it_was_once_is_forgotten() -> None:
    watch = watched(0.1, {"mean": 1.0}, 10 * WINDOW)
    for _ in range(WINDOW):
        watch.note(1.0, {"mean": 0.1})
    assert watch.better_rival() == "mean"


def test_a_rival_that_came_late_is_compared_over_its_own_time() -> None:
    watch = watched(0.1, {}, WINDOW - MIN_SEEN)
    for _ in range(MIN_SEEN):
        watch.note(1.0, {"mean": 0.5})
    assert watch.better_rival() == "mean"


@pytest.mark.parametrize(
    ("num_new", "num_learnt", "since_s", "due"),
    [
        (MIN_APPLICATIONS - 1, 0, 1e9, False),
        (MIN_APPLICATIONS, 0, 0.0, True),
        (29, 30, 3599.0, False),
        (30, 30, 0.0, True),
        (25, 30, 3600.0, True),
        (19, 1000, 1e9, False),
        (20, 1000, 3600.0, True),
        (20, 1000, 3599.0, False),
    ],
)
def test_training_is_due_with_every_doubling_and_then_by_the_hour(
    num_new: int, num_learnt: int, since_s: float, due: bool
) -> None:
    assert is_due(num_new, num_learnt, since_s, 3600.0) == due


def test_means() -> None:
    means = RunningMeans()
    assert means.of_all() is None
    for kind, cost in (("a", 1.0), ("a", 3.0), ("b", 5.0)):
        means.note(kind, KvTokenTime(cost))
    assert (means.of_kind("a"), means.of_kind("b"), means.of_kind("c"), means.of_all()) == (2.0, 5.0, None, 3.0)
