"""The workloads that are simulated, drawn by seed from the recordings in ../shared/traces (TRACES says otherwise)."""

import os
import random
from collections.abc import Sequence
from pathlib import Path

from gateway.workloads.traces import RecordedApplication, read_applications, read_arrivals
from gateway.workloads.workload import Workload, scaled_arrivals

TRACES = Path(os.environ.get("TRACES", Path(__file__).parent.parent.parent / "shared" / "traces"))

SMALL = ("fact_verify", "equation_verify", "code_check", "kbqa_verify")
MEDIUM = ("code_feedback", "tool_plan", "alfworld")
LARGE = ("mapreduce_summarize",)
SHARES = ((SMALL, 0.72), (MEDIUM, 0.26), (LARGE, 0.02))
"""The paper's mix. `doc_merge`, half of all load where it is there, is left out."""


def suite(seed: int, count: int = 300, window_s: float = 120.0) -> tuple[Workload, Sequence[RecordedApplication]]:
    """The suite without doc_merge: each class's share, kinds of a class alike, runs drawn with repetition; `count`
    consecutive arrivals of the Mooncake conversations from a drawn place on, scaled to `window_s`. And the recording
    that it was drawn from."""
    recorded = read_applications(TRACES / "apps_suite9.jsonl.gz")
    by_kind: dict[str, list[RecordedApplication]] = {}
    for application in recorded:
        by_kind.setdefault(application.kind, []).append(application)
    draw = random.Random(seed)
    classes = [kinds for kinds, share in SHARES for _ in range(round(share * count))]
    draw.shuffle(classes)
    applications = [draw.choice(by_kind[draw.choice(kinds)]) for kinds in classes]
    times_s = read_arrivals(TRACES / "arrivals_mooncake_conversation.csv.gz")
    first = draw.randrange(len(times_s) - len(applications))
    arrivals_s = scaled_arrivals(times_s[first : first + len(applications)], len(applications), window_s)
    return Workload(tuple(applications), arrivals_s), recorded
