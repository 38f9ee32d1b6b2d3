"""What the dispatcher shows of itself between calls: who waits, by class, and how fair the order is."""

from collections.abc import Callable, Mapping

from gateway.errors import Rejected
from gateway.fairness.shares import SharesName
from gateway.fairness.units import ApplicationId
from gateway.identity.classes import TenantClasses
from gateway.metrics import Metrics
from gateway.ports import Snapshot
from gateway.scheduling.accounts import Charge
from gateway.scheduling.engine_feed import EngineFeed
from gateway.scheduling.fairness_watch import Delivery, FairnessWatch
from gateway.scheduling.model import Hold, Refusal, Usage
from gateway.scheduling.tenant_room import TermsOf


class Gauges:
    """A call costs it a few additions; counters and gauges follow at the dispatcher's ticks and sweeps."""

    def __init__(
        self,
        metrics: Metrics,
        classes: TenantClasses,
        terms_of: TermsOf,
        feeds: Mapping[str, EngineFeed],
        shares: SharesName,
    ) -> None:
        self._metrics = metrics
        self._classes = classes
        self._terms_of = terms_of
        self._feeds = feeds
        self._watch = FairnessWatch(classes, terms_of, shares)
        self.stay = self._watch.stay
        self._waiting = dict.fromkeys(classes.names, 0)
        self._service = dict.fromkeys(classes.names, 0.0)
        self._prompt_tokens = self._completion_tokens = 0
        """These three since the last tick."""
        metrics.tenant_classes(classes.names)

    # --- calls ------------------------------------------------------------------------------------------------------

    def class_of(self, tenant: str) -> str:
        return self._classes.of(self._terms_of(tenant).weight)

    def waits(self, tenant_class: str, more: int) -> None:
        """1: a call of this class begins to wait; -1: it ends."""
        self._waiting[tenant_class] += more

    def refused(self, why: Refusal | Rejected | None) -> None:
        if why is not None:
            self._metrics.refused(Refusal(why.code) if isinstance(why, Rejected) else why)

    def charged(self, charge: Charge) -> None:
        if charge.service > 0:
            tenant = charge.application_id.partition("/")[0]
            self._service[self.class_of(tenant)] += charge.service

    def answered(self, usage: Usage, now: float) -> None:
        self._prompt_tokens += usage.prompt_tokens
        self._completion_tokens += usage.completion_tokens
        self.stay.note(usage.completion_tokens, now)

    # --- ticks and sweeps -------------------------------------------------------------------------------------------

    def tick(self, num_waiting: int, num_dispatched: int, oldest_wait_s: float) -> None:
        self._metrics.count()
        self._metrics.queue_depth(num_waiting, num_dispatched)
        self._metrics.oldest_wait(oldest_wait_s)
        self._metrics.tenant_calls_queued(self._waiting)
        if self._prompt_tokens or self._completion_tokens:
            self._metrics.tokens(self._prompt_tokens, self._completion_tokens)
            self._prompt_tokens = self._completion_tokens = 0
        for name, amount in self._service.items():
            if amount:
                self._metrics.tenant_service(name, amount)
                self._service[name] = 0.0

    def sweep(
        self,
        snapshot: Snapshot,
        has_calls: Callable[[ApplicationId], bool],
        num_held: Mapping[Hold, int],
        now: float,
        *,
        store_is_up: bool,
    ) -> None:
        feeds = self._feeds.values()
        delivery = Delivery(sum(feed.delivered for feed in feeds), sum(feed.capacity_kv_tokens for feed in feeds))
        self._metrics.calls_held(num_held)
        self._metrics.store_up(store_is_up)
        self._metrics.clock(snapshot.virtual_time, len(snapshot.backlogged))
        self._metrics.fairness(self._watch.look(snapshot, has_calls, delivery, now))
