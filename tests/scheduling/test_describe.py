from dataclasses import replace

from gateway.fairness.units import ApplicationId, KvTokenTime, VirtualTime, Weight
from gateway.ports import ApplicationRecord
from gateway.scheduling.describe import lag

RECORD = ApplicationRecord(
    application_id=ApplicationId("t/a"),
    tenant="t",
    kind="k",
    parent=None,
    weight=Weight(2000),
    predicted_cost=KvTokenTime(200.0),
    service=KvTokenTime(50.0),
    virtual_start=VirtualTime(1000.0),
    virtual_finish_time=VirtualTime(1100.0),
    arrived_at=0.0,
    last_seen_at=0.0,
)


def test_lag_is_what_was_due_less_what_was_had() -> None:
    assert lag(replace(RECORD, due=KvTokenTime(60.0))) == 10.0
    assert lag(RECORD) == -50.0
