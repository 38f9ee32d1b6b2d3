from dataclasses import replace

import pytest

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


@pytest.mark.parametrize(
    ("virtual_time", "in_gps"), [(900.0, 0.0), (1000.0, 0.0), (1030.0, 60.0), (1100.0, 200.0), (9999.0, 200.0)]
)
def test_lag_is_service_in_gps_less_what_was_had(virtual_time: float, in_gps: float) -> None:
    """Of weight 2 it has had two units of service for every unit of virtual time, until its cost was served."""
    assert lag(RECORD, VirtualTime(virtual_time)) == in_gps - 50.0
    assert lag(replace(RECORD, service=KvTokenTime(0.0)), VirtualTime(virtual_time)) == in_gps
