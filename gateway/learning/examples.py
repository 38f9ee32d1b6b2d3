"""What the package `predictor` learns from: examples, made of recorded applications or of the gateway's own history.

The package is imported here, by those who train and report; the gateway itself gets it from the composition.
"""

import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.fairness.cost import call_cost
from gateway.fairness.units import KvTokenTime, Tokens
from gateway.ports import ClosedApplication, Progress
from gateway.replay.costs import true_cost
from gateway.scheduling.course import KEPT_AFTER
from gateway.workloads.first_calls import first_call_of
from gateway.workloads.traces import RecordedApplication

Example = Any
"""`predictor.examples.Example`."""


def of_recorded(applications: Iterable[RecordedApplication]) -> list[Example]:
    features = importlib.import_module("predictor.features")
    example = importlib.import_module("predictor.examples").Example
    found = []
    for application in applications:
        first = first_call_of(application)
        known = features.Features.of(kind=first.kind, text=first.text, prompt_tokens=first.prompt_tokens)
        progress = tuple(predictor_progress(one) for one in progress_of(application))
        # Runs of one task ask the same.
        found.append(example(known, true_cost(application), task=first.text, progress=progress))
    return found


def of_closed(history: Sequence[ClosedApplication]) -> list[Example]:
    """Those whose features this version can read."""
    features = importlib.import_module("predictor.features")
    example = importlib.import_module("predictor.examples").Example
    found = []
    for closed in history:
        try:
            known = features.Features.from_json(closed.features)
        except ValueError:
            continue
        progress = tuple(predictor_progress(one) for one in closed.progress)
        found.append(example(known, closed.cost, task="", progress=progress))
    return found


def progress_of(application: RecordedApplication) -> list[Progress]:
    """How far it would have come after each of its calls, if calls ran as soon as they may and ended in their order:
    of those that a gateway keeps."""
    calls: Mapping[int, Any] = {call.call_id: call for call in application.calls}
    ended: set[int] = set()
    service = 0.0
    found = []
    for call in application.calls[:-1]:
        ended.add(call.call_id)
        service += call_cost(Tokens(call.prompt_tokens), Tokens(call.completion_tokens))
        if len(ended) not in KEPT_AFTER:
            continue
        others = [one for one in calls.values() if one.call_id not in ended and ended.issuperset(one.after)]
        tokens = Tokens(sum(one.prompt_tokens for one in others))
        found.append(Progress(len(ended), len(others), tokens, KvTokenTime(service)))
    return found


def predictor_progress(one: Progress) -> Any:
    """The same as a `predictor.features.Progress`."""
    return importlib.import_module("predictor.features").Progress(
        num_ended=one.num_ended,
        num_open=one.num_open,
        open_prompt_tokens=one.open_prompt_tokens,
        service=one.service,
    )
