"""Rule 3 with the headers as each client sends them."""

import pytest

from gateway.identity.evidence import Evidence
from gateway.identity.facts import RequestFacts
from gateway.identity.vendors import VENDORS, Session, read_session

ROOT = "0f6c2d1e-5a77-4c0b-9d53-2f1f0c0d9a11"
CHILD = "7b1e4a90-1c2d-4e3f-8a9b-0c1d2e3f4a5b"


def session(**headers: str) -> Session | None:
    sent = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return read_session(Evidence.of(RequestFacts("/v1/messages", sent, "call-1")))


def raw_session(*headers: tuple[str, str]) -> Session | None:
    return read_session(Evidence.of(RequestFacts("/v1/messages", headers, "call-1")))


@pytest.mark.parametrize(
    "header",
    [
        "X-Claude-Code-Session-Id",
        "Session-Id",
        "session_id",
        "thread-id",
        "thread_id",
        "x-opencode-session",
        "x-session-id",
        "x-session-affinity",
        "X-Qwen-Code-Session-Id",
        "X-Dynamo-Session-ID",
        "x-litellm-session-id",
        "x-litellm-trace-id",
        "x-llm-d-inference-fairness-id",
        "X-Acme-Session-Id",
        "x-acme-agent-session-id",
    ],
)
def test_every_carrier_names_a_session_by_itself(header: str) -> None:
    assert raw_session((header, ROOT)) == Session(ROOT, None, ROOT)


@pytest.mark.parametrize(
    "header",
    [
        "x-request-id",
        "x-correlation-id",
        "x-client-request-id",
        "user",
        "x-user-id",
        "safety-identifier",
        "x-session-token",
        "acme-session-id",
        "x-acme-session-idx",
        "cookie",
        "x-acme-session_id",
        "x-parent-session-id",
        "x-dynamo-parent-session-id",
        "x-acme-parent-session-id",
        "x-claude-code-agent-id",
        "x-claude-code-parent-agent-id",
        "x-codex-parent-thread-id",
        "x-codex-window-id",
    ],
)
def test_what_names_a_call_a_person_or_only_a_relative_names_no_session(header: str) -> None:
    assert raw_session((header, ROOT)) is None


def test_claude_codes_agents_fold_into_their_session() -> None:
    root = session(x_claude_code_session_id=ROOT)
    first = session(x_claude_code_session_id=ROOT, x_claude_code_agent_id="a1")
    nested = session(x_claude_code_session_id=ROOT, x_claude_code_agent_id="a2", x_claude_code_parent_agent_id="a1")
    assert root == Session(ROOT, None, ROOT)
    assert first == Session(f"{ROOT}:a1", ROOT, ROOT)
    assert nested == Session(f"{ROOT}:a2", f"{ROOT}:a1", ROOT)


def test_a_parent_agent_without_an_agent_is_the_session_itself() -> None:
    assert session(x_claude_code_session_id=ROOT, x_claude_code_parent_agent_id="a1") == Session(ROOT, None, ROOT)


@pytest.mark.parametrize("parent", ["a1", ROOT])
def test_an_agent_under_itself_or_under_the_session_has_the_session_for_parent(parent: str) -> None:
    headers = {"x_claude_code_agent_id": "a1", "x_claude_code_parent_agent_id": parent}
    assert session(x_claude_code_session_id=ROOT, **headers) == Session(f"{ROOT}:a1", ROOT, ROOT)


def test_codexs_threads_fold_into_their_session() -> None:
    first = session(session_id=ROOT, thread_id=ROOT)
    child = session(session_id=ROOT, thread_id=CHILD, x_codex_parent_thread_id=ROOT)
    nested = session(session_id=ROOT, thread_id="t3-thread", x_codex_parent_thread_id=CHILD)
    assert first == Session(ROOT, None, ROOT)
    assert child == Session(f"{ROOT}:{CHILD}", ROOT, ROOT)
    assert nested == Session(f"{ROOT}:t3-thread", f"{ROOT}:{CHILD}", ROOT)
    assert raw_session(("session_id", ROOT), ("thread_id", CHILD)) == Session(f"{ROOT}:{CHILD}", ROOT, ROOT)


def test_a_codex_thread_without_a_session_folds_into_its_parent_thread() -> None:
    assert session(thread_id=CHILD, x_codex_parent_thread_id=ROOT) == Session(CHILD, ROOT, ROOT)


def test_opencodes_child_sessions_fold_into_their_parent() -> None:
    headers = {"x_session_affinity": CHILD, "x_session_id": CHILD, "x_parent_session_id": ROOT}
    assert session(**headers) == Session(CHILD, ROOT, ROOT)
    assert session(x_session_affinity="pinned", x_session_id=ROOT) == Session(ROOT, None, ROOT)


def test_dynamo_names_parents_and_ends() -> None:
    child = {"x_dynamo_session_id": CHILD, "x_dynamo_parent_session_id": ROOT}
    assert session(**child) == Session(CHILD, ROOT, ROOT)
    assert session(**child, x_dynamo_session_final="true") == Session(CHILD, ROOT, ROOT, is_final=True)
    assert session(**child, x_dynamo_session_final="false") == Session(CHILD, ROOT, ROOT)
    assert session(x_dynamo_session_id=ROOT, x_dynamo_parent_session_id=ROOT) == Session(ROOT, None, ROOT)


def test_another_vendors_final_header_ends_nothing() -> None:
    assert session(x_litellm_session_id=ROOT, x_dynamo_session_final="true") == Session(ROOT, None, ROOT)


def test_a_vendors_relatives_are_its_own() -> None:
    assert session(x_qwen_code_session_id=ROOT, x_parent_session_id=CHILD) == Session(ROOT, None, ROOT)


def test_the_clients_own_headers_come_before_a_gateways() -> None:
    assert session(x_litellm_session_id=CHILD, x_claude_code_session_id=ROOT) == Session(ROOT, None, ROOT)
    assert session(x_acme_session_id=CHILD, x_llm_d_inference_fairness_id=ROOT) == Session(ROOT, None, ROOT)


def test_a_blank_carrier_says_nothing() -> None:
    assert session(x_claude_code_session_id=" ") is None
    assert session(x_claude_code_session_id=" ", x_acme_session_id=ROOT) == Session(ROOT, None, ROOT)


def test_a_known_carrier_takes_any_value() -> None:
    found = session(x_claude_code_session_id="a b/ü", x_claude_code_agent_id="\n")
    assert found is not None
    assert found.root.startswith("x-")
    assert found.name.startswith(found.root + ":x-")
    assert session(session_id="1") == Session("1", None, "1")


@pytest.mark.parametrize("value", ["1234567", "true", "with a blank", "über-lange-id", "x" * 129, "........"])
def test_a_guessed_carrier_takes_only_what_looks_like_an_id(value: str) -> None:
    assert session(x_acme_session_id=value) is None


def test_of_guessed_carriers_the_first_by_name_that_fits_counts() -> None:
    wanted = Session("12345678", None, "12345678")
    assert raw_session(("x-b-session-id", "12345678"), ("x-c-session-id", ROOT), ("x-a-session-id", "1")) == wanted
    assert raw_session(("x-c-session-id", ROOT), ("x-a-session-id", " "), ("x-b-session-id", "12345678")) == wanted


def test_a_guessed_carrier_may_name_a_parent() -> None:
    assert session(x_acme_session_id=CHILD, x_acme_parent_session_id=ROOT) == Session(CHILD, ROOT, ROOT)
    assert session(x_acme_session_id=CHILD, x_other_parent_session_id=ROOT) == Session(CHILD, None, CHILD)


def test_the_table_is_written_in_lower_case_and_names_no_header_of_a_single_call() -> None:
    for vendor in VENDORS:
        headers = vendor.sessions + vendor.agents + vendor.parent_agents + vendor.parent_sessions + vendor.finals
        assert all(header == header.lower() for header in headers)
        assert not {"x-request-id", "x-correlation-id", "user"} & set(headers)
    assert len({vendor.name for vendor in VENDORS}) == len(VENDORS)
