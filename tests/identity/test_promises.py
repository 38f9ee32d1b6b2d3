"""What holds for any bytes a client invents."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.identity import Identity, KeyRing, RequestFacts, identify, key_digest
from gateway.identity.vendors import VENDORS

KEYS = KeyRing({key_digest("sk-acme"): "acme", key_digest("sk-bolt"): "bolt"})

HOSTILE = st.one_of(
    st.text(),
    st.sampled_from(
        ["", " ", "a", "demo", "acme/demo", "bolt/demo", "..", "../acme", "%2e%2e", "a\r\nX-Evil: 1", "\x00", "аcme"]
    ),
    st.sampled_from(["x" * 128, "x" * 129, "x" * 5000, "1", "true", "\ud800", "\xff", "K\u212a", "x-" + "0" * 32]),
)
CARRIERS = ["x-justitia-application", "x-justitia-parent", "x-justitia-final", "x-justitia-kind", "x-acme-session-id"]
CARRIERS += ["x-acme-parent-session-id", "x-request-id", "user", "authorization", ""]
for vendor in VENDORS:
    CARRIERS += vendor.sessions + vendor.agents + vendor.parent_agents + vendor.parent_sessions + vendor.finals
HEADERS = st.lists(st.tuples(st.one_of(st.sampled_from(CARRIERS), st.text(max_size=20)), HOSTILE), max_size=8)
SEGMENT = st.one_of(st.sampled_from(["apps", "runs", "v1", "", "..", "%2f", "%"]), HOSTILE)
PATHS = st.one_of(
    st.text(),
    st.lists(SEGMENT, max_size=8).map("/".join),
    st.builds("/apps/{}/v1/{}".format, SEGMENT, SEGMENT),
    st.builds("/apps/{}/runs/{}/v1/{}".format, SEGMENT, SEGMENT, SEGMENT),
)
CALL_IDS = st.one_of(st.just("call-1"), st.text())


def by_acme(path: str, headers: list[tuple[str, str]], call_id: str = "call-1") -> Identity:
    return identify(RequestFacts(path, headers, "sk-acme", call_id), KEYS)


@given(PATHS, HEADERS, CALL_IDS)
@example("", [], "")
def test_every_identity_is_bounded_and_harmless(path: str, headers: list[tuple[str, str]], call_id: str) -> None:
    found = by_acme(path, headers, call_id)
    for name in (found.application_id, found.root, found.parent or found.root):
        assert len(name) <= 256
        assert re.fullmatch(r"acme/[A-Za-z0-9._~:@+-]{1,128}", name)
    assert found.application_id == f"acme/{found.application}"
    assert found.parent != found.application_id
    assert (found.parent is None) == (found.root == found.application_id)
    assert re.fullmatch(r"[a-z0-9_-]{1,64}", found.kind)
    assert found.rule in ("path", "header", "session", "none")
    assert re.fullmatch(r"/([!-.0-~][!-~]*)?", found.upstream_path)


@given(PATHS, HEADERS, PATHS, HEADERS)
def test_two_tenants_never_meet(
    path: str, headers: list[tuple[str, str]], other_path: str, other_headers: list[tuple[str, str]]
) -> None:
    ours = by_acme(path, headers)
    theirs = identify(RequestFacts(other_path, other_headers, "sk-bolt", "call-1"), KEYS)
    assert not {ours.application_id, ours.root, ours.parent} & {theirs.application_id, theirs.root} - {None}


@given(PATHS, HEADERS)
def test_the_same_request_is_the_same_application(path: str, headers: list[tuple[str, str]]) -> None:
    assert by_acme(path, headers) == by_acme(path, list(headers))


@given(PATHS, HEADERS)
def test_names_of_headers_have_no_case(path: str, headers: list[tuple[str, str]]) -> None:
    ascii_headers = [(name, value) for name, value in headers if name.isascii()]
    shouted = [(name.upper(), value) for name, value in ascii_headers]
    assert by_acme(path, ascii_headers) == by_acme(path, shouted)


@given(PATHS, HEADERS)
def test_a_name_given_out_means_the_same_application_again(path: str, headers: list[tuple[str, str]]) -> None:
    found = by_acme(path, headers)
    assert by_acme("/v1/models", [("x-justitia-application", found.application)]).application_id == found.application_id


@given(PATHS, HEADERS, st.data())
def test_the_order_of_different_headers_means_nothing(
    path: str, headers: list[tuple[str, str]], data: st.DataObject
) -> None:
    distinct = list({name.lower(): (name, value) for name, value in headers}.values())
    shuffled = data.draw(st.permutations(distinct))
    assert by_acme(path, distinct) == by_acme(path, shuffled)
