"""The refined estimate: log total cost, when some calls of the application have ended.

What it learns is how far the first estimate was off, in spreads of the kind, from how far the application has come. It
is trained on first estimates by models that had not seen the application. How much of it is believed is settled kind by
kind on applications it was not trained on: where the calls so far tell nothing, the first estimate stands.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from predictor.encoding import Array, Encoding, Rows
from predictor.features import MAX_COUNT, MAX_SERVICE, Progress
from predictor.regression import QUANTILES, chosen_support, fit, shrunk_quantiles, squared_distances, within_reason

MAX_STAGES = 512
"""Support points: stages of applications that have ended."""
_MAX_TRAINED = 12000
"""Snapshots; of more, so many are drawn."""
NUM_SIGNS = 7
_RATE = 0.1
_OTHER_KIND = 0.1
_MAX_SIGN = 5.0
_MAX_CORRECTION = 8.0
"""In spreads of the kind."""
_TRUSTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_MIN_APPLICATIONS = 5
"""Of a kind, before what its progress says is believed."""
_MIN_GAIN = 0.03
"""Of the first estimate's error, that a refinement must save before it is believed."""
NUM_FOLDS = 3
"""In which trust and quantiles are settled."""
_STAGES = (4, 16)
"""Quantiles are kept apart for so many calls ended at most, and for more."""
NUM_BANDS = len(_STAGES) + 1


@dataclass(frozen=True, slots=True)
class Refinement:
    kind_rows: Rows
    """(m,): of the support, as in `Encoding`."""
    signs: Array
    """(m, NUM_SIGNS): how far each had come."""
    coefficients: Array
    """(m,)"""
    trust_of_kind: Array
    """(kinds + 1,): 0 … 1. At 0 the first estimate stands, with its own quantiles."""
    band_of_kind: Array
    """(kinds + 1, stages, 2): in spreads of the kind, what is to be added for the lowest and the highest quantile."""

    def quantiles(self, encoding: Encoding, row: int, first: Array, progress: Progress) -> Array:
        """(3,) of log total cost. `first`: (3,), the first estimate's."""
        if self.trust_of_kind[row] == 0:
            return _not_below(first, progress)
        rows = np.array([row])
        alike = _alike(rows, signs(encoding, rows, first[None, 1], [progress]), self.kind_rows, self.signs)
        spread = encoding.spread_of_kind[row]
        correction = self.trust_of_kind[row] * float((alike @ self.coefficients)[0])
        middle = first[1] + spread * min(max(correction, -_MAX_CORRECTION), _MAX_CORRECTION)
        low, high = spread * self.band_of_kind[row, _stage(progress)]
        return _not_below(np.array([middle + low, middle, middle + high]), progress)


def nothing_learnt(num_kinds: int) -> Refinement:
    empty = np.empty(0)
    return Refinement(
        np.empty(0, dtype=np.int64),
        empty.reshape(0, NUM_SIGNS),
        empty,
        np.zeros(num_kinds + 1),
        np.zeros((num_kinds + 1, NUM_BANDS, 2)),
    )


def fitted(
    encoding: Encoding,
    kind_rows: Rows,
    first: Array,
    costs: Array,
    progress: Sequence[Sequence[Progress]],
    seed: int,
    told: Callable[[], None],
) -> Refinement:
    """`first`: (n,), log costs, each estimated without the example itself. `costs`: (n,), log. `told` hears of every
    fit."""
    snapshots = [(n, snapshot) for n, of_one in enumerate(progress) for snapshot in of_one]
    if len(snapshots) > _MAX_TRAINED:
        drawn = np.random.default_rng(seed).choice(len(snapshots), _MAX_TRAINED, replace=False)
        snapshots = [snapshots[number] for number in np.sort(drawn)]
    owner = np.array([n for n, _ in snapshots], dtype=np.int64)
    stages = [snapshot for _, snapshot in snapshots]
    num_kinds = len(encoding.kinds)
    if len(set(owner)) < 2 * NUM_FOLDS:
        return nothing_learnt(num_kinds)
    rows, spread = kind_rows[owner], encoding.spread_of_kind[kind_rows[owner]]
    seen = signs(encoding, rows, first[owner], stages)
    off = (costs - first)[owner] / spread
    weights = 1.0 / np.bincount(owner, minlength=len(costs))[owner]  # an application counts once
    floor = (np.array([_log_service(stage) for stage in stages]) - first[owner]) / spread

    def learnt(those: Rows) -> tuple[Rows, Array]:
        told()
        support = chosen_support(rows[those], MAX_STAGES, seed)
        alike = _alike(rows[those], seen[those], rows[those[support]], seen[those[support]])
        return those[support], fit(alike, support, off[those], weights[those]).coefficients

    folds = np.random.default_rng(seed).permutation(len(costs))[owner] % NUM_FOLDS
    held_out = np.zeros(len(owner))
    for fold in range(NUM_FOLDS):
        asked = np.flatnonzero(folds == fold)
        support, coefficients = learnt(np.flatnonzero(folds != fold))
        held_out[asked] = _alike(rows[asked], seen[asked], rows[support], seen[support]) @ coefficients
    trust = _trusts(held_out, off, floor, weights, rows, num_kinds)
    residuals = off - np.maximum(trust[rows] * held_out, floor)
    stage_of = np.array([_stage(stage) for stage in stages])
    bands = []
    for stage in range(NUM_BANDS):
        chosen = np.flatnonzero(stage_of == stage)
        if not len(chosen):
            chosen = np.arange(len(owner))
        bands.append(shrunk_quantiles(residuals[chosen], rows[chosen], num_kinds, (QUANTILES[0], QUANTILES[-1])))
    band = np.stack(bands, axis=1) * np.array([-1.0, 1.0])
    support, coefficients = learnt(np.arange(len(owner)))
    # The middle lies between them, whatever the residuals of few applications say.
    return Refinement(rows[support], seen[support], coefficients, trust, np.maximum(band, 0) * np.array([-1.0, 1.0]))


def signs(encoding: Encoding, kind_rows: Rows, first: Array, progress: Sequence[Progress]) -> Array:
    """(n, NUM_SIGNS) of how far n applications have come."""
    spread, middle = encoding.spread_of_kind[kind_rows], encoding.middle_of_kind[kind_rows]
    service = np.array([_log_service(each) for each in progress])
    counts = np.array(
        [[_within(each.num_ended), _within(each.num_open), _within(each.open_prompt_tokens)] for each in progress]
    )
    ended, waiting, prompts = np.log1p(counts).T
    found = np.stack(
        [
            (service - first) / spread,
            (service - middle) / spread,
            (service - ended - first) / spread,
            (first - middle) / spread,
            2 * ended,
            waiting,
            0.5 * prompts,
        ],
        axis=1,
    )
    found[:, :4] = np.minimum(np.maximum(found[:, :4], -_MAX_SIGN), _MAX_SIGN)
    return found


def _alike(rows: Rows, seen: Array, other_rows: Rows, others: Array) -> Array:
    kinds = np.where(rows[:, None] == other_rows, 1.0, _OTHER_KIND)
    return np.asarray(kinds * 3.0 * np.exp(-_RATE * squared_distances(seen, others)))


def _trusts(held_out: Array, off: Array, floor: Array, weights: Array, rows: Rows, num_kinds: int) -> Array:
    """(kinds + 1,): the share of the correction with the least error.

    0 where that saves little, and for a kind never seen: on recorded applications, what progress told of the other
    kinds made the estimate worse more often than better.
    """
    found = np.zeros(num_kinds + 1)
    for row in range(num_kinds):
        chosen = rows == row
        if weights[chosen].sum() < _MIN_APPLICATIONS:
            continue
        errors = [
            float(weights[chosen] @ np.abs(off - np.maximum(trust * held_out, floor))[chosen]) for trust in _TRUSTS
        ]
        best = int(np.argmin(errors))
        found[row] = _TRUSTS[best] if errors[best] < (1 - _MIN_GAIN) * errors[0] else 0.0
    return found


def _stage(progress: Progress) -> int:
    return sum(progress.num_ended > bound for bound in _STAGES)


def _not_below(quantiles: Array, progress: Progress) -> Array:
    return within_reason(np.maximum(quantiles, _log_service(progress)))


def _log_service(progress: Progress) -> float:
    return math.log(min(max(1.0, progress.service), MAX_SERVICE))  # max(1.0, NaN) is 1.0


def _within(count: int) -> float:
    return float(min(max(0, count), MAX_COUNT))
