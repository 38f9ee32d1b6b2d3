from typing import Any

from gateway.identity.lineage import MAX_ANSWERS, Lineage
from gateway.identity.links import KEY_BYTES, LinkKey
from gateway.identity.messages import EMPTY_ANSWER, MAX_STEPS, MessageReader


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def lineage(*messages: dict[str, Any], tenant: str = "acme", **fields: Any) -> Lineage:
    found = Lineage.of({"messages": list(messages), **fields}, tenant)
    assert found is not None
    return found


def after(answer: dict[str, Any], *messages: dict[str, Any], tenant: str = "acme") -> LinkKey | None:
    """What a call is remembered under."""
    return lineage(*messages, tenant=tenant).after(MessageReader().chat_message(answer) or "")


def test_a_call_is_found_by_its_messages_and_its_answer() -> None:
    remembered = after(assistant("a"), user("q"))
    assert remembered is not None
    assert len(remembered) == KEY_BYTES
    assert lineage(user("q"), assistant("a"), user("r")).keys == (remembered,)
    assert lineage(user("q"), assistant("a")).keys == (remembered,)


def test_every_earlier_answer_is_looked_for_the_latest_first() -> None:
    said = [user("q"), assistant("a"), user("r"), assistant("b"), user("s")]
    assert lineage(*said).keys == (after(assistant("b"), *said[:3]), after(assistant("a"), *said[:1]))


def test_no_more_than_the_last_few() -> None:
    said = [message for i in range(20) for message in (user(str(i)), assistant("a"))]
    keys = lineage(*said).keys
    assert len(keys) == MAX_ANSWERS
    assert keys == tuple(after(assistant("a"), *said[: 2 * i + 1]) for i in reversed(range(20 - MAX_ANSWERS, 20)))


def test_nothing_is_looked_for_before_there_is_an_answer() -> None:
    assert lineage(user("q"), user("r")).keys == ()
    assert Lineage.of({"prompt": "q"}, "acme") is None
    assert Lineage.of({}, "acme") is None


def test_another_question_answer_order_or_tenant_is_another_line() -> None:
    remembered = [
        after(assistant("a"), user("q")),
        after(assistant("b"), user("q")),
        after(assistant("a"), user("p")),
        after(assistant("a"), user("q"), user("q")),
        after(assistant("a"), user("qq")),
        after(assistant("a"), assistant("q")),
        after(assistant("a")),
        after(assistant("a"), user("q"), tenant="bolt"),
        after(assistant("qa")),
    ]
    assert len(set(remembered)) == len(remembered)
    assert lineage(user("q"), assistant("a"), tenant="bolt").keys == (remembered[7],)


def test_model_tools_and_the_system_do_not_count() -> None:
    remembered = after(assistant("a"), {"role": "system", "content": "Monday"}, user("q"))
    said = [{"role": "system", "content": "Tuesday"}, user("q"), assistant("a")]
    assert lineage(*said, model="m", tools=[{"type": "function"}], system="s").keys == (remembered,)


def test_an_empty_answer_leads_nowhere() -> None:
    assert lineage(user("q")).after(EMPTY_ANSWER) is None


def test_the_same_line_goes_on_in_the_responses_api() -> None:
    said = Lineage.of({"input": [user("q"), {"type": "message", **assistant("a")}, user("r")]}, "acme")
    assert said is not None
    assert said.keys == (after(assistant("a"), user("q")),)
    first = Lineage.of({"input": "q"}, "acme")
    assert first is not None
    assert first.after("assistant 1 0\na") == said.keys[0]


def test_of_too_many_messages_the_first_are_known_and_none_is_remembered() -> None:
    said = [message for i in range(MAX_STEPS) for message in (user(str(i)), assistant("a"))]
    long = lineage(*said)
    assert long.after("assistant 1 0\na") is None
    assert len(long.keys) == MAX_ANSWERS
    assert long.keys == lineage(*said[:MAX_STEPS]).keys
    whole = lineage(*said[:MAX_STEPS])
    assert whole.after("assistant 1 0\na") is not None
