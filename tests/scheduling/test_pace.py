import pytest

from gateway.scheduling.pace import MAX_MODELS, NUM_BUCKETS, ModelPaces, Pace


def test_counts_the_window_and_forgets_what_is_older() -> None:
    pace = Pace(window_s=12.0)
    for second in range(100, 130):
        pace.add(float(second))
    assert pace.count(129.0) == NUM_BUCKETS
    assert pace.per_second(129.0) == 1.0
    assert (pace.count(200.0), pace.per_second(200.0)) == (0, 0.0)


def test_what_came_after_a_silence_is_taken_over_the_time_since() -> None:
    pace = Pace(window_s=12.0)
    pace.add(0.0)
    for _ in range(20):
        pace.add(100.5)
    assert pace.per_second(102.5) == 10.0
    assert pace.per_second(100.5) == 20.0  # a twelfth of the window at least


def test_nothing_piles_up() -> None:
    pace = Pace(window_s=12.0)
    for i in range(10_000):
        pace.add(i / 10)
    assert len(pace._buckets) <= NUM_BUCKETS


def test_each_model_has_its_own_pace_and_there_are_not_too_many() -> None:
    paces = ModelPaces()
    for i in range(30):
        paces.dispatched("fast", float(i))
    paces.dispatched("slow", 0.0)
    assert paces.wait_s("fast", 9, 29.0) == pytest.approx(10 * 29 / 30)
    assert paces.wait_s("slow", 0, 29.0) == pytest.approx(29.0)
    assert paces.wait_s("slow", 0, 99.0) is None
    assert paces.wait_s("unknown", 0, 29.0) is None
    for i in range(MAX_MODELS):
        paces.dispatched(f"m{i}", 30.0)
    assert paces.wait_s("fast", 0, 30.0) is None
    assert len(paces._paces) == MAX_MODELS
