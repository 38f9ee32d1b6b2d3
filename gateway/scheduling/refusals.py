"""What a client is told when the scheduler ended its call, and when to come back. Pure."""

from typing import assert_never

from gateway import errors
from gateway.errors import EngineError, GatewayError
from gateway.scheduling.events import End
from gateway.scheduling.model import Refusal
from gateway.scheduling.retry_after import RetryAfter


class Refused(Exception):
    """The scheduler ended the call by itself."""

    def __init__(self, end: End) -> None:
        super().__init__(end.call_id)
        self.end = end


def error_of(end: End, tenant: str, num_waiting: int, retry_after: RetryAfter, now: float) -> GatewayError:
    """`num_waiting`: calls in the queue, which one that waited in vain would find ahead of it again."""
    match end.refusal:
        case Refusal.QUEUE_FULL:
            return errors.QueueFull("Too many calls are waiting.", retry_after_s=retry_after.refuse(0, now))
        case Refusal.SHED:
            return errors.QueueFull(
                "The call gave way to others: no memory is left for calls that wait.",
                retry_after_s=retry_after.refuse(0, now),
            )
        case Refusal.QUOTA_EXCEEDED:
            return errors.QuotaExceeded(
                "Too many of your calls are waiting.", retry_after_s=retry_after.refuse(0, now, tenant)
            )
        case Refusal.SHUTTING_DOWN:
            return shutting_down(retry_after, now)
        case Refusal.QUEUE_TIMEOUT:
            return errors.QueueTimeout(
                "The call waited too long for its turn.", retry_after_s=retry_after.refuse(num_waiting, now)
            )
        case Refusal.MODEL_NOT_FOUND:
            return errors.ModelNotFound("No engine serves this model.", param="model")
        case Refusal.COST_EXCEEDS_CAPACITY:
            return errors.CostExceedsCapacity("max_tokens is more than any engine's KV memory.", param="max_tokens")
        case Refusal.ENGINE_UNREACHABLE:
            return errors.EngineUnreachable("No engine that serves this model can be reached.")
        case None:
            return EngineError("The call ended before its turn.")
        case _ as unreachable:
            assert_never(unreachable)


def shutting_down(retry_after: RetryAfter, now: float) -> errors.ShuttingDown:
    return errors.ShuttingDown("The gateway is shutting down.", retry_after_s=retry_after.refuse(0, now))
