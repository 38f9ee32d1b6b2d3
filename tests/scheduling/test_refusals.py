import pytest

from gateway.errors import GatewayError
from gateway.scheduling.events import End
from gateway.scheduling.model import Outcome, Refusal
from gateway.scheduling.refusals import Refused, error_of
from gateway.scheduling.retry_after import RetryAfter

RETRYABLE = {Refusal.QUEUE_FULL, Refusal.SHED, Refusal.QUOTA_EXCEEDED, Refusal.SHUTTING_DOWN, Refusal.QUEUE_TIMEOUT}


@pytest.mark.parametrize("refusal", [*Refusal, None])
def test_every_refusal_is_told_as_what_it_is(refusal: Refusal | None) -> None:
    end = End("c", Outcome.REJECTED, refusal)
    error = error_of(end, "t", 0, RetryAfter(), 0.0)
    assert isinstance(error, GatewayError)
    codes = {None: "internal_error", Refusal.SHED: "queue_full"}
    assert error.code == codes.get(refusal, refusal)
    assert (error.retry_after_s is not None) == (refusal in RETRYABLE)
    assert str(Refused(end)) == "c"


def test_one_that_waited_in_vain_finds_the_queue_ahead_of_it() -> None:
    retry_after = RetryAfter()
    for i in range(300):
        retry_after.dispatched(i / 10)
    end = End("c", Outcome.EVICTED, Refusal.QUEUE_TIMEOUT)
    assert error_of(end, "t", 199, retry_after, 29.9).retry_after_s == pytest.approx(20.0, rel=0.01)
