"""Whose call it is when earlier calls tell: one gateway's calls, one after another."""

from typing import Any

import pytest

from gateway.identity import Identity, Inquiry, LinkKey, Links, RequestFacts, identify, safe_name
from gateway.identity.links import link_key

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01")

Header = tuple[str, str]


class Gateway:
    """What the HTTP layer does with each call."""

    def __init__(self) -> None:
        self.links = Links()
        self._num_calls = 0

    def call(
        self,
        fields: dict[str, Any] | None = None,
        *headers: Header,
        answer: object = None,
        path: str = CHAT,
        tenant: str = "acme",
    ) -> Identity:
        self._num_calls += 1
        inquiry = Inquiry(RequestFacts(path, headers, f"call-{self._num_calls}", fields), tenant)
        identity = inquiry.identity(self.links.find(tenant, inquiry.wanted))
        self.links.note(tenant, inquiry.links(identity))
        reader = inquiry.answer_reader(identity)
        if reader is not None:
            reader.read_body(answer)
            self.links.note(tenant, inquiry.answer_links(identity, reader.answer))
        return identity


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def where(identity: Identity) -> tuple[str, str, bool]:
    assert identity.root == f"{identity.tenant}/{identity.application}"
    return identity.rule, identity.application, identity.is_final


def chat(*texts: str) -> dict[str, Any]:
    """Users and assistants, by turns."""
    roles = ("user", "assistant")
    return {"model": "m", "messages": [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]}


def says(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}


def response(response_id: str, text: str = "a") -> dict[str, Any]:
    content = [{"type": "output_text", "text": text}]
    return {
        "id": response_id,
        "object": "response",
        "output": [{"type": "message", "role": "assistant", "content": content}],
    }


# --- 4: the body ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"metadata": {"application_id": "run-1"}}, "run-1"),
        ({"metadata": {"user_id": "user_ab_account_cd_session_s-1"}}, "s-1"),
        ({"prompt_cache_key": "key-1"}, "key-1"),
        ({"conversation": {"id": "conv_1"}}, "conv_1"),
        ({"previous_response_id": "resp_0"}, "resp_0"),
    ],
)
def test_a_body_names_its_application(gateway: Gateway, fields: dict[str, Any], name: str) -> None:
    assert where(gateway.call({**chat("q", "a", "r"), **fields}, TRACEPARENT)) == ("body", name, False)


def test_a_session_in_the_body_is_the_one_in_the_header(gateway: Gateway) -> None:
    by_header = gateway.call(None, ("x-claude-code-session-id", "s-1"), path=MESSAGES)
    by_body = gateway.call({"metadata": {"user_id": '{"session_id": "s-1"}'}}, path=MESSAGES)
    assert by_body.application_id == by_header.application_id


def test_a_person_is_no_application(gateway: Gateway) -> None:
    person = {"user": "u-12345678", "safety_identifier": "p-12345678", "metadata": {"user_id": "u-12345678"}}
    assert where(gateway.call({**chat("q"), **person})) == ("none", "call-1", False)


def test_a_chain_of_responses_is_one_application(gateway: Gateway) -> None:
    assert where(gateway.call({"input": "q"}, path=RESPONSES, answer=response("resp_1"))) == ("none", "call-1", False)
    second = gateway.call({"input": "r", "previous_response_id": "resp_1"}, path=RESPONSES, answer=response("resp_2"))
    third = gateway.call({"input": "s", "previous_response_id": "resp_2"}, path=RESPONSES, answer=response("resp_3"))
    assert where(second) == where(third) == ("body", "call-1", False)
    other = gateway.call({"input": "s", "previous_response_id": "resp_2"}, path=RESPONSES, tenant="bolt")
    assert where(other) == ("body", "resp_2", False)


def test_a_chain_goes_on_where_its_first_call_was_named_otherwise(gateway: Gateway) -> None:
    named = [
        gateway.call({"input": "q"}, ("x-justitia-application", "run-1"), path=RESPONSES, answer=response("resp_1")),
        gateway.call({"input": "q", "conversation": "conv_1"}, ("x-justitia-application", "run-1"), path=RESPONSES),
    ]
    followed = [
        gateway.call({"input": "r", "previous_response_id": "resp_1"}, path=RESPONSES),
        gateway.call({"input": "r", "conversation": {"id": "conv_1"}}, path=RESPONSES),
    ]
    assert {identity.application_id for identity in named + followed} == {"acme/run-1"}
    assert [identity.rule for identity in followed] == ["body", "body"]


def test_what_continues_an_unknown_response_belongs_together(gateway: Gateway) -> None:
    fields = {"input": "r", "previous_response_id": "resp_lost"}
    assert where(gateway.call(fields, path=RESPONSES)) == where(gateway.call(fields, path=RESPONSES))
    assert where(gateway.call(fields, path=RESPONSES)) == ("body", "resp_lost", False)


# --- 5: a trace -----------------------------------------------------------------------------------------------------


def test_a_session_in_the_baggage_is_an_application_at_once(gateway: Gateway) -> None:
    assert where(gateway.call(chat("q"), ("baggage", "session.id=s-1"), TRACEPARENT)) == ("trace", "s-1", False)


def test_a_trace_is_an_application_from_its_second_call_on(gateway: Gateway) -> None:
    calls = [gateway.call(chat(str(i)), TRACEPARENT) for i in range(3)]
    assert [where(call) for call in calls] == [("none", "call-1", False), *[("trace", "call-1", False)] * 2]
    assert where(gateway.call(chat("q"), TRACEPARENT, tenant="bolt")) == ("none", "call-4", False)


def test_a_trace_of_named_calls_is_left_alone(gateway: Gateway) -> None:
    gateway.call(chat("q"), ("x-justitia-application", "run-1"), TRACEPARENT)
    assert where(gateway.call(chat("q"), TRACEPARENT)) == ("none", "call-2", False)


def test_a_conversation_that_goes_on_in_another_trace_is_followed(gateway: Gateway) -> None:
    gateway.call(chat("q"), answer=says("a"))
    assert where(gateway.call(chat("q", "a", "r"), TRACEPARENT)) == ("lineage", "call-1", False)
    assert where(gateway.call(chat("something else"), TRACEPARENT)) == ("trace", "call-1", False)


# --- 6: lineage -----------------------------------------------------------------------------------------------------


def test_a_conversation_is_one_application(gateway: Gateway) -> None:
    first = gateway.call(chat("q"), answer=says("a"))
    second = gateway.call(chat("q", "a", "r"), answer=says("b"))
    third = gateway.call(chat("q", "a", "r", "b", "s"), answer=says("c"))
    rewritten = gateway.call(chat("q", "a", "r", "b, in other words", "t"))
    assert where(first) == ("none", "call-1", False)
    assert {where(call) for call in (second, third, rewritten)} == {("lineage", "call-1", False)}


def test_another_conversation_is_another(gateway: Gateway) -> None:
    gateway.call(chat("q"), answer=says("a"))
    for said in (chat("q"), chat("q", "b", "r"), chat("p", "a", "r"), chat("q", "a, edited", "r")):
        assert gateway.call(said).rule == "none"
    assert gateway.call(chat("q", "a", "r"), tenant="bolt").rule == "none"


def test_of_two_that_began_alike_the_later_is_continued(gateway: Gateway) -> None:
    for _ in range(2):
        gateway.call(chat("q"), answer=says("a"))
    assert where(gateway.call(chat("q", "a", "r"))) == ("lineage", "call-2", False)


def test_anthropics_conversations(gateway: Gateway) -> None:
    answer = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "a"}]}
    gateway.call(chat("q"), path=MESSAGES, answer=answer)
    assert where(gateway.call(chat("q", "a", "r"), path=MESSAGES)) == ("lineage", "call-1", False)


def test_responses_that_the_client_keeps_itself(gateway: Gateway) -> None:
    gateway.call({"input": "q"}, path=RESPONSES, answer=response("resp_1"))
    said = [{"role": "user", "content": "q"}, *response("resp_1")["output"], {"role": "user", "content": "r"}]
    assert where(gateway.call({"input": said}, path=RESPONSES)) == ("lineage", "call-1", False)


def test_an_end_may_be_declared(gateway: Gateway) -> None:
    gateway.call(chat("q"), answer=says("a"))
    assert gateway.call(chat("q", "a", "r"), ("x-justitia-final", "1")).is_root_final


def test_an_answer_that_says_nothing_leaves_nothing(gateway: Gateway) -> None:
    gateway.call(chat("q"), answer=says(""))
    gateway.call(chat("q"), answer={"error": {}})
    assert len(gateway.links) == 0


# --- families -------------------------------------------------------------------------------------------------------


def test_a_childs_later_calls_are_charged_to_its_root(gateway: Gateway) -> None:
    gateway.call(None, ("x-justitia-application", "child"), ("x-justitia-parent", "run"))
    later = gateway.call(None, ("x-justitia-application", "child"))
    assert (later.application_id, later.parent, later.root) == ("acme/child", "acme/run", "acme/run")
    by_path = gateway.call(None, path="/apps/child/v1/models")
    by_body = gateway.call({"metadata": {"application_id": "child"}})
    by_trace = gateway.call(None, ("baggage", "session.id=child"))
    assert by_path.root == by_body.root == by_trace.root == "acme/run"
    assert gateway.call(None, ("x-justitia-application", "child"), tenant="bolt").root == "bolt/child"


def test_a_grandchild_is_charged_to_the_root(gateway: Gateway) -> None:
    gateway.call(None, ("x-justitia-application", "child"), ("x-justitia-parent", "run"))
    grandchild = gateway.call(None, ("x-justitia-application", "grandchild"), ("x-justitia-parent", "child"))
    assert (grandchild.parent, grandchild.root) == ("acme/child", "acme/run")
    unnamed = gateway.call(None, ("x-justitia-parent", "grandchild"))
    assert (unnamed.rule, unnamed.parent, unnamed.root) == ("none", "acme/grandchild", "acme/run")
    assert unnamed.is_final
    assert not unnamed.is_root_final
    session = [("x-session-id", "s-1"), ("x-parent-session-id", "grandchild")]
    assert gateway.call(None, *session).root == "acme/run"


def test_what_follows_a_child_is_charged_to_the_root(gateway: Gateway) -> None:
    child = [("x-justitia-application", "child"), ("x-justitia-parent", "run")]
    gateway.call({"input": "q"}, *child, path=RESPONSES, answer=response("resp_1"))
    assert where(gateway.call({"input": "r", "previous_response_id": "resp_1"}, path=RESPONSES)) == (
        "body",
        "run",
        False,
    )


def test_a_family_has_no_cycles(gateway: Gateway) -> None:
    gateway.call(None, ("x-justitia-application", "a"), ("x-justitia-parent", "b"))
    turned = gateway.call(None, ("x-justitia-application", "b"), ("x-justitia-parent", "a"))
    assert (turned.parent, turned.root) == (None, "acme/b")
    assert gateway.call(None, ("x-justitia-application", "a")).root == "acme/b"
    assert gateway.call(None, ("x-justitia-application", "b")).root == "acme/b"


@pytest.mark.parametrize("elder", ["a", "b", "c", "../c", ""])
def test_nor_has_one_from_elsewhere(elder: str) -> None:
    """Whatever another process noted."""
    facts = RequestFacts(CHAT, [("x-justitia-application", "a"), ("x-justitia-parent", "b")], "call-1")
    found = identify(facts, "acme", {link_key("family", "acme", name): elder for name in "abc"})
    assert found.parent != found.application_id
    assert (found.parent is None) == (found.root == found.application_id)
    assert found.root.count("/") == 1


def test_a_name_from_elsewhere_is_made_safe() -> None:
    facts = RequestFacts(RESPONSES, (), "call-1", {"previous_response_id": "r"})
    found = identify(facts, "acme", {link_key("response", "acme", "r"): "../bolt/run"})
    assert found.application == safe_name("../bolt/run")


def test_an_unnamed_call_leaves_no_family_and_needs_no_lineage(gateway: Gateway) -> None:
    child = gateway.call(chat("q"), ("x-justitia-parent", "run"), TRACEPARENT, answer=says("a"))
    assert (child.rule, child.root) == ("none", "acme/run")
    assert len(gateway.links) == 0


# --- what it costs --------------------------------------------------------------------------------------------------


def wanted(fields: dict[str, Any] | None, *headers: Header, path: str = CHAT) -> tuple[LinkKey, ...]:
    return Inquiry(RequestFacts(path, headers, "call-1", fields), "acme").wanted


def test_the_links_that_are_looked_up() -> None:
    family = (link_key("family", "acme", "run-1"),)
    trace = link_key("trace", "acme", TRACE)
    assert wanted(chat("q", "a", "r"), ("x-justitia-application", "run-1"), TRACEPARENT) == family
    assert wanted(chat("q", "a", "r"), ("x-justitia-parent", "run-1"), TRACEPARENT) == family
    assert wanted({"metadata": {"application_id": "run-1"}}) == family
    assert wanted({"previous_response_id": "r"}, ("x-justitia-parent", "run-1")) == (
        *family,
        link_key("response", "acme", "r"),
    )
    assert wanted(chat("q")) == wanted(None) == ()
    assert wanted(chat("q"), TRACEPARENT) == (trace,)
    assert wanted(chat("q", "a"), TRACEPARENT)[0] == trace
    assert len(wanted(chat(*"qa" * 50), TRACEPARENT)) == 9


def test_an_answer_is_read_only_where_it_leads_somewhere() -> None:
    def reads(fields: dict[str, Any] | None, *headers: Header, path: str = CHAT) -> str:
        inquiry = Inquiry(RequestFacts(path, headers, "call-1", fields), "acme")
        reader = inquiry.answer_reader(inquiry.identity({}))
        if reader is None:
            return "nothing"
        reader.read_body({**response("resp_1"), "id": "resp_1"})
        return "message" if reader.answer.message else "id"

    named = ("x-justitia-application", "run-1")
    assert reads(chat("q"), named) == reads({"prompt": "q"}) == reads(None) == "nothing"
    assert reads(chat("q")) == reads(chat("q"), TRACEPARENT) == reads({"input": "q"}, path=RESPONSES) == "message"
    assert reads({"input": "q"}, named, path=RESPONSES) == "id"
    assert reads({"input": "q"}, path=f"/apps/a{RESPONSES}") == "id"


def test_messages_are_not_touched_where_a_call_is_named() -> None:
    class Untouchable(list[object]):
        def __iter__(self) -> Any:
            raise AssertionError("read")

    fields = {"messages": Untouchable([{"role": "user", "content": "q"}]), "metadata": {}}
    for headers in ([("x-justitia-application", "a")], [("session-id", "a")], [("baggage", "session.id=a")]):
        assert identify(RequestFacts(CHAT, headers, "call-1", fields), "acme").application == "a"
    with pytest.raises(AssertionError, match="read"):
        identify(RequestFacts(CHAT, (), "call-1", fields), "acme")
