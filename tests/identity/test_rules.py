import pytest

from gateway.identity.evidence import Evidence
from gateway.identity.facts import RequestFacts
from gateway.identity.rules import RULES, Claim, alone, by_header, by_path, by_session


def evidence(path: str = "/v1/models", *headers: tuple[str, str]) -> Evidence:
    return Evidence.of(RequestFacts(path, headers, "call-1"))


@pytest.mark.parametrize(
    ("path", "claim"),
    [
        ("/apps/demo/v1/models", Claim("demo")),
        ("/apps/demo/runs/17/v1/models", Claim("demo:17", kind="demo")),
        ("/apps/Demo/runs/17/v1/models", Claim("Demo:17", kind="demo")),
        ("/apps/demo.2/runs/17/v1/models", Claim("demo.2:17", kind="other")),
        ("/apps/demo/runs//v1/models", Claim("demo")),
        ("/apps//runs/17/v1/models", None),
        ("/v1/models", None),
    ],
)
def test_by_path(path: str, claim: Claim | None) -> None:
    assert by_path(evidence(path)) == claim


def test_unsafe_parts_of_a_path_become_digests_one_by_one() -> None:
    claim = by_path(evidence("/apps/demo/runs/a%2Fb/v1/models"))
    assert claim is not None
    assert claim.application.startswith("demo:x-")
    assert claim.kind == "demo"


def test_by_header() -> None:
    assert by_header(evidence("/v1/models", ("X-Justitia-Application", "run-1"))) == Claim("run-1")
    assert by_header(evidence("/v1/models", ("X-Justitia-Application", " "))) is None


def test_by_session() -> None:
    sent = (("x-dynamo-session-id", "s"), ("x-dynamo-parent-session-id", "p"), ("x-dynamo-session-final", "1"))
    assert by_session(evidence("/v1/models", *sent)) == Claim("s", parent="p", root="p", is_final=True)
    assert by_session(evidence()) is None


def test_alone() -> None:
    assert alone(evidence(), may_go_on=False) == Claim("call-1", is_final=True)
    assert alone(evidence(), may_go_on=True) == Claim("call-1", is_final=False)


def test_the_order_of_the_table() -> None:
    """Every rule below the one that matched had something to say."""
    headers = [("x-justitia-application", "by-header"), ("session-id", "by-session")]
    found = []
    for rule in RULES:
        claim = rule.claim(evidence("/apps/by-path/v1/models", *headers))
        found.append((rule.name, claim and claim.application))
    assert found == [("path", "by-path"), ("header", "by-header"), ("session", "by-session")]
