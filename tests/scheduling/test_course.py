"""How far an application has come, and what is kept of it."""

from gateway.fairness.units import KvTokenTime, Tokens
from gateway.ports import Prediction, Progress
from gateway.scheduling.course import KEPT_AFTER, Course, is_worth_revising


def course() -> Course:
    return Course(Prediction(KvTokenTime(100.0), "mean"))


def served(amount: float) -> KvTokenTime:
    return KvTokenTime(amount)


def test_nothing_is_told_before_a_call_has_ended_or_when_none_is_open() -> None:
    one = course()
    one.call_began("a", Tokens(10))
    assert one.progress(served(0)) is None
    one.call_ended("a")
    assert one.progress(served(5)) is None
    one.call_began("b", Tokens(30))
    one.call_began("c", Tokens(40))
    assert one.progress(served(5)) == Progress(1, 2, Tokens(70), served(5))


def test_what_was_told_is_not_told_again() -> None:
    one = course()
    for name in "ab":
        one.call_began(name, Tokens(10))
    one.call_ended("a")
    assert one.progress(served(5)) is not None
    assert one.progress(served(5)) is None
    one.call_began("c", Tokens(10))
    assert one.progress(served(5)) is not None


def test_calls_that_never_ran_and_calls_that_are_not_known_do_not_count() -> None:
    one = course()
    for name in "abc":
        one.call_began(name, Tokens(10))
    one.call_left("b")
    one.call_ended("unknown")
    assert one.progress(served(5)) is None
    one.call_ended("a")
    assert one.progress(served(5)) == Progress(1, 1, Tokens(10), served(5))


def test_of_a_long_one_little_is_kept_and_of_equal_states_the_last() -> None:
    one = course()
    one.call_began("open", Tokens(1))
    for number in range(1000):
        one.call_began(str(number), Tokens(1))
        one.call_ended(str(number))
        one.progress(served(number))
        one.call_began(f"more {number}", Tokens(1))
        one.progress(served(number))
        one.call_left(f"more {number}")
    assert [progress.num_ended for progress in one.kept] == sorted(KEPT_AFTER)
    assert {progress.num_open for progress in one.kept} == {2}


def test_half_as_much_again_is_worth_it() -> None:
    assert not is_worth_revising(served(149), served(100))
    assert is_worth_revising(served(150), served(100))
    assert is_worth_revising(served(60), served(100))
    assert not is_worth_revising(served(70), served(100))
    assert is_worth_revising(served(1), served(0))
    assert is_worth_revising(served(111), served(100), 1.1)
