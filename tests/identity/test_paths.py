import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.identity.paths import PathClaim, read_path


@pytest.mark.parametrize(
    ("path", "application", "run", "upstream_path"),
    [
        ("/apps/demo/v1/chat/completions", "demo", None, "/v1/chat/completions"),
        ("/apps/demo/v1", "demo", None, "/v1"),
        ("/apps/demo/v1/", "demo", None, "/v1/"),
        ("/apps/demo/v1/responses/r_1/cancel", "demo", None, "/v1/responses/r_1/cancel"),
        ("/apps/demo/runs/17/v1/messages", "demo", "17", "/v1/messages"),
        ("/apps/demo/runs/17/v1", "demo", "17", "/v1"),
        ("/apps/runs/runs/v1/v1/models", "runs", "v1", "/v1/models"),
        ("/apps/v1/v1/models", "v1", None, "/v1/models"),
        ("/apps/demo/v1/runs/17/v1/models", "demo", None, "/v1/runs/17/v1/models"),
        ("//apps/demo/v1/models", "demo", None, "/v1/models"),
        # an encoded slash stays inside its segment; decoded once, not twice
        ("/apps/a%2Fb/v1/models", "a/b", None, "/v1/models"),
        ("/apps/..%2f../v1/models", "../..", None, "/v1/models"),
        ("/apps/%252e/v1/models", "%2e", None, "/v1/models"),
        ("/apps/%C3%A9/runs/%20/v1/models", "é", " ", "/v1/models"),
        ("/apps/%FF/v1/models", "\udcff", None, "/v1/models"),
        ("/apps/\ud800%41/v1/models", "\udced\udca0\udc80A", None, "/v1/models"),
        # empty says nothing, but the prefix goes
        ("/apps//v1/models", None, None, "/v1/models"),
        ("/apps//runs//v1/models", None, None, "/v1/models"),
        ("/apps/demo/runs//v1/models", "demo", None, "/v1/models"),
    ],
)
def test_an_applications_path(path: str, application: str | None, run: str | None, upstream_path: str) -> None:
    assert read_path(path) == PathClaim(upstream_path, application, run)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models",
        "/apps",
        "/apps/",
        "/apps/demo",
        "/apps/demo/v2/models",
        "/apps/demo/runs/17",
        "/apps/demo/v1x",
        "/apps/demo/runs/v1/models",
        "/APPS/demo/v1/models",
        "/%61pps/demo/v1/models",
        "/apps/../../v1/models",
        "/",
    ],
)
def test_other_paths_are_passed_on_whole(path: str) -> None:
    assert read_path(path) == PathClaim(path)


@pytest.mark.parametrize(
    ("path", "upstream_path"),
    [
        ("", "/"),
        ("*", "/*"),
        ("//evil.example/v1/models", "/evil.example/v1/models"),
        ("http://evil.example/v1", "/http://evil.example/v1"),
        ("/v1/models?x=1#y", "/v1/models%3Fx=1%23y"),
        ("/v1/a b\r\n", "/v1/a%20b%0D%0A"),
        ("/v1/é\ud800", "/v1/%C3%A9%ED%A0%80"),
        ("/apps/demo/v1/\x00\n", "/v1/%00%0A"),
    ],
)
def test_an_upstream_path_cannot_leave_the_path(path: str, upstream_path: str) -> None:
    assert read_path(path).upstream_path == upstream_path


def test_a_segment_too_long_for_a_name_is_not_decoded() -> None:
    assert read_path(f"/apps/{'%41' * 128}/v1/models").application == "A" * 128
    assert read_path(f"/apps/{'%41' * 129}/v1/models").application == "%41" * 129


def test_different_bytes_stay_different() -> None:
    sent = ["%FF", "%FE", "%C3%BF", "ÿ%41", "%EF%BF%BD", "%ED%B3%BF"]
    assert len({read_path(f"/apps/{segment}/v1").application for segment in sent}) == len(sent)


@given(st.lists(st.sampled_from(["/", "apps", "runs", "v1", "%2f", "%", "a", "..", "é", "\ud800", "?"])).map("".join))
@example("/apps//v1/apps/a/v1")
def test_reading_twice_changes_nothing(path: str) -> None:
    upstream_path = read_path(path).upstream_path
    assert re.fullmatch(r"/([A-Za-z0-9%:@!$&'()*+,;=._~-][A-Za-z0-9/%:@!$&'()*+,;=._~-]*)?", upstream_path)
    assert read_path(upstream_path) == PathClaim(upstream_path)
