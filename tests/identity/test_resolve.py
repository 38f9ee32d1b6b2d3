from collections.abc import Callable

import pytest

from gateway.identity import RULES, Claim, Identity, Inquiry, RequestFacts, Rule
from gateway.identity.evidence import Evidence

Identify = Callable[..., Identity]

CHAT = "/v1/chat/completions"


def test_everything_a_path_tells(identified: Identify) -> None:
    assert identified("/apps/demo/runs/17/v1/messages", tenant="acme") == Identity(
        tenant="acme",
        application_id="acme/demo:17",  # type: ignore[arg-type]
        application="demo:17",
        rule="path",
        kind="demo",
        parent=None,
        root="acme/demo:17",  # type: ignore[arg-type]
        is_final=False,
        upstream_path="/v1/messages",
    )


def test_everything_headers_tell(identified: Identify) -> None:
    headers = [("application", "step-2"), ("parent", "run-1"), ("final", "yes"), ("kind", "Coder")]
    sent = [(f"X-Justitia-{name}", value) for name, value in headers]
    assert identified(CHAT, *sent, tenant="acme") == Identity(
        tenant="acme",
        application_id="acme/step-2",  # type: ignore[arg-type]
        application="step-2",
        rule="header",
        kind="coder",
        parent="acme/run-1",  # type: ignore[arg-type]
        root="acme/run-1",  # type: ignore[arg-type]
        is_final=True,
        upstream_path=CHAT,
    )


def test_a_nested_agent_is_charged_to_its_session(identified: Identify) -> None:
    names = [("session-id", "s"), ("agent-id", "b"), ("parent-agent-id", "a")]
    found = identified("/v1/messages", *((f"x-claude-code-{name}", value) for name, value in names))
    assert found.rule == "session"
    assert (found.application_id, found.parent, found.root) == ("anonymous/s:b", "anonymous/s:a", "anonymous/s")
    assert found.kind == "default"


def test_a_call_that_says_nothing_is_an_application_that_ends_with_it(identified: Identify) -> None:
    found = identified(CHAT, ("x-request-id", "r-12345678"), ("x-correlation-id", "c-12345678"), ("user", "u"))
    assert found.rule == "none"
    assert found.application_id == found.root == "anonymous/call-1"
    assert found.is_final
    assert found.is_root_final
    assert found.kind == "default"


@pytest.mark.parametrize("final", ["0", "1"])
def test_a_call_that_names_only_its_parent_is_charged_to_it_and_leaves_it_open(
    identified: Identify, final: str
) -> None:
    found = identified(CHAT, ("x-justitia-parent", "run-1"), ("x-justitia-final", final))
    assert found.rule == "none"
    assert found.application_id == "anonymous/call-1"
    assert found.parent == found.root == "anonymous/run-1"
    assert found.is_final
    assert not found.is_root_final


def test_a_path_comes_before_a_header_and_a_header_before_a_session(identified: Identify) -> None:
    header, session = ("x-justitia-application", "h"), ("x-claude-code-session-id", "s")
    assert identified("/apps/p/v1/messages", session, header).application == "p"
    assert identified("/v1/messages", session, header).application == "h"
    assert identified("/v1/messages", session).application == "s"
    assert identified("/apps//v1/messages", session, ("x-justitia-application", "")).application == "s"


@pytest.mark.parametrize(
    ("path", "headers", "rule"),
    [
        ("/apps/a/v1/messages", (), "path"),
        ("/apps/a/runs/1/v1/messages", (), "path"),
        ("/v1/messages", (("x-justitia-application", "a"),), "header"),
        ("/v1/messages", (("session-id", "a"),), "session"),
        ("/v1/messages", (), "none"),
    ],
)
def test_kind_parent_and_final_add_to_every_rule(
    identified: Identify, path: str, headers: tuple[tuple[str, str], ...], rule: str
) -> None:
    added = (("x-justitia-kind", "k"), ("x-justitia-parent", "p"), ("x-justitia-final", "true"))
    found = identified(path, *headers, *added)
    assert (found.rule, found.kind, found.parent, found.root) == (rule, "k", "anonymous/p", "anonymous/p")
    assert found.is_final
    assert not found.is_root_final


def test_an_end_closes_a_root_only_if_it_is_the_roots(identified: Identify) -> None:
    assert identified("/apps/a/v1/messages", ("x-justitia-final", "1")).is_root_final
    assert not identified("/apps/a/v1/messages").is_root_final
    dynamo = [("x-dynamo-session-id", "s"), ("x-dynamo-session-final", "true")]
    assert identified("/v1/messages", *dynamo).is_root_final
    assert not identified("/v1/messages", *dynamo, ("x-dynamo-parent-session-id", "p")).is_root_final
    assert identified("/v1/messages", *dynamo, ("x-justitia-final", "0")).is_root_final


def test_a_declared_parent_stands_above_a_vendors(identified: Identify) -> None:
    agent = [("x-claude-code-session-id", "s"), ("x-claude-code-agent-id", "a"), ("x-justitia-parent", "run-1")]
    found = identified("/v1/messages", *agent)
    assert (found.application, found.parent, found.root) == ("s:a", "anonymous/run-1", "anonymous/run-1")


def test_nobody_is_their_own_parent(identified: Identify) -> None:
    found = identified("/apps/a/v1/messages", ("x-justitia-parent", "a"))
    assert (found.parent, found.root) == (None, "anonymous/a")
    agent = [("x-claude-code-session-id", "s"), ("x-claude-code-agent-id", "a"), ("x-justitia-parent", "s:a")]
    assert identified("/v1/messages", *agent).root == "anonymous/s"


@pytest.mark.parametrize("sent", ["a b", "A.B", "é", "k" * 65, "\u212aind"])
def test_an_unsafe_kind_is_other_and_not_the_rules(identified: Identify, sent: str) -> None:
    assert identified("/apps/demo/runs/1/v1/messages", ("x-justitia-kind", sent)).kind == "other"


def test_a_claimed_id_never_crosses_tenants(identified: Identify) -> None:
    """Neither by a tenant's name in it, nor by a slash, encoded or not, nor as a parent."""
    theirs = identified("/apps/demo/v1/messages", tenant="acme").application_id
    claims = [
        identified("/apps/demo/v1/messages", tenant="bolt"),
        identified("/apps/acme%2Fdemo/v1/messages", tenant="bolt"),
        identified("/apps/..%2Facme%2Fdemo/v1/messages", tenant="bolt"),
        identified(CHAT, ("x-justitia-application", theirs), tenant="bolt"),
        identified(CHAT, ("x-justitia-parent", theirs), tenant="bolt"),
        identified(CHAT, ("x-session-id", "s"), ("x-parent-session-id", theirs), tenant="bolt"),
        identified(CHAT, ("x-justitia-tenant", "acme"), tenant="bolt"),
    ]
    for claim in claims:
        for claimed in (claim.application_id, claim.root, claim.parent or claim.root):
            assert claimed.split("/")[0] == "bolt"
            assert claimed.count("/") == 1


def test_names_given_out_can_be_sent_back(identified: Identify) -> None:
    first = identified("/apps/my%20app/runs/a%2Fb/v1/messages")
    again = identified(CHAT, ("x-justitia-application", first.application))
    child = identified("/apps/c/v1/messages", ("x-justitia-parent", first.application))
    assert again.application_id == child.root == first.application_id


def test_another_rule_joins_without_touching_the_rest() -> None:
    def by_batch(evidence: Evidence) -> Claim | None:
        batch = evidence.name_in(("x-batch",))
        return None if batch is None else Claim(batch)

    def named(*headers: tuple[str, str]) -> str:
        rules = (Rule("session", by_batch), *RULES)
        return Inquiry(RequestFacts(CHAT, headers, "call-1"), "acme", rules).identity({}).application_id

    assert named(("x-batch", "b-1"), ("x-justitia-application", "h")) == "acme/b-1"
    assert named(("x-justitia-application", "h")) == "acme/h"
    assert named() == "acme/call-1"
