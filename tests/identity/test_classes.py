import pytest

from gateway.fairness.units import Weight
from gateway.identity.classes import TenantClasses

CLASSES = TenantClasses({"standard": 1000, "batch": 500, "premium": 4000})


@pytest.mark.parametrize(
    ("weight", "name"),
    [
        (1, "batch"),
        (499, "batch"),
        (500, "batch"),
        (999, "batch"),
        (1000, "standard"),
        (3999, "standard"),
        (4000, "premium"),
        (10**6, "premium"),
    ],
)
def test_a_class_begins_at_its_least_weight(weight: int, name: str) -> None:
    assert CLASSES.of(Weight(weight)) == name


def test_names_are_in_order_of_weight() -> None:
    assert CLASSES.names == ("batch", "standard", "premium")
