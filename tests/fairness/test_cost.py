import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fairness import KvTokenTime, Tokens, application_cost, call_cost, settled_call_cost, token_cost
from gateway.fairness.cost import remaining_cost

COUNTS = st.integers(0, 3000).map(Tokens)


@given(COUNTS, st.integers(0, 300).map(Tokens))
def test_a_call_costs_what_it_holds_in_each_iteration(prompt: Tokens, output: Tokens) -> None:
    assert call_cost(prompt, output) == sum(prompt + i for i in range(1, output + 1))


@given(st.lists(st.tuples(COUNTS, COUNTS)))
def test_an_application_costs_the_sum_of_its_calls_in_any_order(calls: list[tuple[Tokens, Tokens]]) -> None:
    total = application_cost(calls)
    assert total == sum(call_cost(prompt, output) for prompt, output in calls)
    assert total == application_cost(reversed(calls))
    assert isinstance(total, float)


def test_token_cost_is_input_plus_twice_the_output() -> None:
    assert token_cost(Tokens(100), Tokens(7)) == 114


def test_kv_token_time_tells_apart_what_tokens_do_not() -> None:
    """Equal p + 2d; one holds 100 tokens for an iteration, the other grows to 51 over 51."""
    assert token_cost(Tokens(100), Tokens(1)) == token_cost(Tokens(0), Tokens(51))
    assert (call_cost(Tokens(100), Tokens(1)), call_cost(Tokens(0), Tokens(51))) == (101.0, 1326.0)


def test_a_settled_call_is_charged_as_measured_or_else_by_its_tokens() -> None:
    assert settled_call_cost(Tokens(10), Tokens(3)) == 36.0
    assert settled_call_cost(Tokens(10), Tokens(3), KvTokenTime(20.5)) == 20.5
    assert settled_call_cost(Tokens(10), Tokens(3), KvTokenTime(0.0)) == 0.0  # measured, and nothing was held
    assert settled_call_cost(Tokens(10), Tokens(0)) == 0.0


def test_nothing_remains_of_a_prediction_that_was_passed() -> None:
    assert remaining_cost(KvTokenTime(10.0), KvTokenTime(4.0)) == 6.0
    assert remaining_cost(KvTokenTime(10.0), KvTokenTime(40.0)) == 0.0


@pytest.mark.parametrize(("prompt", "output"), [(-1, 5), (5, -1)])
def test_negative_tokens_are_refused(prompt: int, output: int) -> None:
    for cost in (call_cost, token_cost, settled_call_cost):
        with pytest.raises(ValueError, match=f"got {prompt} and {output}"):
            cost(Tokens(prompt), Tokens(output))
