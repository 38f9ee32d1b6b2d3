"""Kinds of application: what a prediction is grouped by, and what a metric may be labelled with."""

import re
from collections.abc import Iterable

DEFAULT_KIND = "default"
"""Nobody said what kind it is."""
OTHER_KIND = "other"
"""Somebody said something that cannot be a label, or one label too many."""

_SAFE_KIND = re.compile(r"[a-z0-9_-]{1,64}")


def safe_kind(value: str) -> str:
    """Lower-cased if it is safe, else `other`: a digest would be stable, but is no use as a label."""
    # Beyond ASCII first: some letters there (the Kelvin sign) become ASCII when lower-cased. 65 characters are enough
    # to see that a value is too long, without lower-casing megabytes.
    lowered = value[:65].lower()
    return lowered if value.isascii() and _SAFE_KIND.fullmatch(lowered) else OTHER_KIND


class KindRegistry:
    """The closed set of kinds that one process uses as labels, so that clients cannot make metrics grow.

    The first `max_kinds` distinct ones keep their names, all later ones are `other`. `known` kinds are counted in from
    the start: with them, a client that invents kinds cannot take an operator's places.
    """

    def __init__(self, known: Iterable[str] = (), max_kinds: int = 64) -> None:
        self._labels = {DEFAULT_KIND, OTHER_KIND, *map(safe_kind, known)}
        self._max_labels = max_kinds + 2  # `default` and `other` take no place

    def label(self, kind: str) -> str:
        """The kind itself while there is room for it, else `other`."""
        if kind in self._labels:
            return kind
        if len(self._labels) >= self._max_labels or safe_kind(kind) != kind:
            return OTHER_KIND
        self._labels.add(kind)
        return kind
