import pytest

from gateway.scheduling.retry_after import MAX_S, MAX_TENANTS, MIN_S, RetryAfter


def at_ten_a_second() -> RetryAfter:
    retry_after = RetryAfter()
    for i in range(300):
        retry_after.dispatched(1000 + i / 10)
    return retry_after


NOW = 1029.9


def test_the_wait_is_what_is_ahead_at_the_recent_pace() -> None:
    assert at_ten_a_second().refuse(199, NOW) == pytest.approx(20.0, rel=0.01)
    assert at_ten_a_second().refuse(0, NOW) == MIN_S
    assert at_ten_a_second().refuse(10**6, NOW) == MAX_S


def test_the_more_are_refused_the_later_they_come_back() -> None:
    retry_after = at_ten_a_second()
    told = [retry_after.refuse(0, NOW) for _ in range(1000)]
    assert told == sorted(told)
    assert (told[0], told[99], told[-1]) == (MIN_S, pytest.approx(10.0, rel=0.01), MAX_S)
    assert retry_after.refuse(0, NOW + 20) < MAX_S  # they have come by then, or do not come


def test_who_knocks_at_a_limit_of_its_own_delays_nobody_else() -> None:
    retry_after = at_ten_a_second()
    told = [retry_after.refuse(0, NOW, "greedy") for _ in range(1000)]
    assert told[-1] == MAX_S
    assert retry_after.refuse(0, NOW, "modest") == MIN_S
    assert retry_after.refuse(0, NOW) == MIN_S


def test_a_queue_that_does_not_move() -> None:
    assert RetryAfter().refuse(0, NOW) == 30.0
    assert RetryAfter().refuse(1, NOW) == MAX_S


def test_tenants_refused_are_not_remembered_for_ever() -> None:
    retry_after = RetryAfter()
    for i in range(2 * MAX_TENANTS):
        retry_after.refuse(0, NOW, f"t{i}")
    assert len(retry_after._refused) == MAX_TENANTS
