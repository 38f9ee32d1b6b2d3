from dataclasses import replace

from gateway.fairness.units import ApplicationId, Tokens
from gateway.identity import Identity
from gateway.scheduling.estimates import Expected, TokenEstimates
from gateway.scheduling.model import CallRequest, Usage

REQUEST = CallRequest(
    call_id="c",
    identity=Identity(
        "t", ApplicationId("t/a"), "a", "header", "k", None, ApplicationId("t/a"), False, "/v1/completions"
    ),
    model="m",
    prompt_tokens_hint=Tokens(100),
    max_tokens=None,
    body_bytes=4000,
    declared_cost=None,
)


def test_learns_bytes_per_token_and_output_length() -> None:
    estimates = TokenEstimates()
    unhinted = replace(REQUEST, prompt_tokens_hint=None)
    assert estimates.prompt_of(unhinted) == 1000
    assert estimates.prompt_of(replace(unhinted, body_bytes=0)) == 1
    for _ in range(200):
        estimates.learn(1000, Usage(Tokens(500), Tokens(10)))
    assert estimates.prompt_of(unhinted) == 2000
    # 100·10 + 10·11/2
    assert estimates.of_call(REQUEST) == Expected(Tokens(100), Tokens(10), 1055)
    assert estimates.of_call(REQUEST).tokens == 110


def test_never_more_output_than_the_client_wants() -> None:
    estimates = TokenEstimates()
    assert estimates.of_call(replace(REQUEST, max_tokens=Tokens(2))).cost == 203
    assert estimates.of_call(replace(REQUEST, max_tokens=Tokens(-1))).cost == 0


def test_an_answer_without_a_prompt_teaches_only_its_length() -> None:
    estimates = TokenEstimates()
    estimates.learn(10**9, Usage(Tokens(0), Tokens(0)))
    assert estimates.prompt_tokens(400) == 100


def test_what_was_spent_as_far_as_it_is_known() -> None:
    estimates = TokenEstimates()
    request = replace(REQUEST, max_tokens=Tokens(50))
    told = estimates.spent(request, Usage(Tokens(90), Tokens(3)), has_answered=True)
    assert told == Expected(Tokens(90), Tokens(3), 276)
    assert estimates.spent(request, None, has_answered=True) == Expected(Tokens(100), Tokens(50), 101)
    assert estimates.spent(request, None, has_answered=False) == Expected(Tokens(0), Tokens(0), 0)
