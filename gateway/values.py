"""Values: slotted dataclasses that never change once they are made.

To the type checker they are frozen; at run time nothing stops an assignment. A dataclass that is frozen at run time
sets each field through `object.__setattr__`, and a call makes a score of them. Where no call passes,
`@dataclass(frozen=True, slots=True)` is as good.
"""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """Equal and hashable by its fields, which are not to be assigned to."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
