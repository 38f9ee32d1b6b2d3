from gateway.fairness.units import Tokens
from gateway.scheduling.estimates import TokenEstimates
from gateway.scheduling.model import Usage


def test_learns_bytes_per_token_and_output_length() -> None:
    estimates = TokenEstimates()
    assert estimates.prompt_tokens(400) == 100
    assert estimates.prompt_tokens(0) == 1
    for _ in range(200):
        estimates.learn(1000, Usage(Tokens(500), Tokens(10)))
    assert estimates.prompt_tokens(400) == 200
    # 100·10 + 10·11/2
    assert estimates.call_cost(Tokens(100), None) == 1055


def test_never_more_output_than_the_client_wants() -> None:
    estimates = TokenEstimates()
    assert estimates.call_cost(Tokens(100), Tokens(2)) == 203
    assert estimates.call_cost(Tokens(100), Tokens(-1)) == 0


def test_an_answer_without_a_prompt_teaches_only_its_length() -> None:
    estimates = TokenEstimates()
    estimates.learn(10**9, Usage(Tokens(0), Tokens(0)))
    assert estimates.prompt_tokens(400) == 100
