import math

import pytest

from engine_patch.ranks import CALL_ID_SEPARATOR, call_id_in, priority_of, split_session

CALL = "call-0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    "request_id",
    [
        f"chatcmpl-{CALL}-a1b2c3d4",
        f"1_chatcmpl-{CALL}-a1b2c3d4",  # the second of n answers
        f"cmpl-{CALL}-0-a1b2c3d4",
        f"chatcmpl-{CALL}",  # VLLM_DISABLE_REQUEST_ID_RANDOMIZATION
        CALL,
    ],
)
def test_the_call_id_is_found_in_what_vllm_makes_of_it(request_id: str) -> None:
    assert call_id_in(request_id) == CALL


@pytest.mark.parametrize("request_id", ["", "chatcmpl-123", "call-0123", "resp_9db9f331ee97422a_0-a1b2c3d4"])
def test_other_request_ids_have_none(request_id: str) -> None:
    assert call_id_in(request_id) == ""


def test_the_session_id_may_carry_the_call_id() -> None:
    assert split_session("t/app" + CALL_ID_SEPARATOR + CALL) == ("t/app", CALL)
    assert split_session("t/app") == ("t/app", "")
    assert split_session(None) == ("", "")


@pytest.mark.parametrize("garbage", [1.5, math.nan, math.inf, "9", None, (1, 2), [], object()])
def test_what_is_no_int_ranks_zero(garbage: object) -> None:
    assert priority_of(garbage, None) == (0, "")


def test_every_priority_compares_with_every_other() -> None:
    priorities = [priority_of(p, s) for p in (0, -3, True, 2**62, 2**70, 0.5, None) for s in ("b", "a", None, 7)]
    assert sorted(priorities)[0] == (-3, "")
    assert priority_of(5, "a") < priority_of(5, "b") < priority_of(6, "a")
