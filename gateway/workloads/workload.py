"""Which applications arrive when: drawn once from a seed, the same for every policy and round."""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from gateway.workloads.traces import RecordedApplication


class WorkloadError(Exception):
    """The applications or arrivals asked for are not there."""


@dataclass(frozen=True, slots=True)
class Workload:
    """`arrivals_s[i]` is when `applications[i]` arrives, in seconds from the start of a run; never falling.

    A value: two that are equal are the same work, and have the same hash and fingerprint.
    """

    applications: tuple[RecordedApplication, ...]
    arrivals_s: tuple[float, ...]

    @property
    def fingerprint(self) -> str:
        """Of everything in it, on any machine: whoever repeats a measurement can see that it is the same work."""
        value = asdict(self)
        for application in value["applications"]:
            if application["tenant"] is None:  # most have none: the same work as before there were tenants
                del application["tenant"]
        content = json.dumps(value, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def drawn(applications: Sequence[RecordedApplication], count: int, seed: int) -> list[RecordedApplication]:
    """`count` of them without repetition, in random order. Raises WorkloadError if there are not that many."""
    if count > len(applications):
        raise WorkloadError(f"--applications {count}: the files hold only {len(applications)}")
    return random.Random(seed).sample(applications, count)


def poisson_arrivals(count: int, window_s: float, seed: int) -> tuple[float, ...]:
    """A Poisson stream that brings `count` arrivals: exponential gaps, the first at 0, scaled to end at `window_s`."""
    draw = random.Random(seed)
    times = [0.0]
    for _ in range(count - 1):
        times.append(times[-1] + draw.expovariate(1.0))
    return scaled_arrivals(times, count, window_s)


def scaled_arrivals(times_s: Sequence[float], count: int, window_s: float) -> tuple[float, ...]:
    """The first `count` of the given times, moved to begin at 0 and scaled to end at `window_s`."""
    if count > len(times_s):
        raise WorkloadError(f"--applications {count}: the file of arrivals has only {len(times_s)}")
    first, last = times_s[0], times_s[count - 1]
    scale = window_s / (last - first) if last > first else 0.0
    return tuple((time_s - first) * scale for time_s in times_s[:count])
