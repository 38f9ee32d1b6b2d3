"""The first estimate: log cost from what is known at an application's first call."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictor.encoding import Array, Encoding, Points, Rows
from predictor.features import Features
from predictor.regression import QUANTILES, chosen_support, fit, shrunk_quantiles, within_reason

MAX_SUPPORT = 1024
"""Bounds the artifact (about a megabyte), the time of a prediction and that of a training."""
_NUMBER_RATE = 0.05
_WORD_RATE = 1.0
_OTHER_KIND = 0.1
"""How much an application of another kind is worth that is otherwise the same."""
_PRIOR_LIKENESS = 2.0
_MAX_TARGET = 8.0
"""In spreads of the kind: nothing recorded is farther from its middle."""


@dataclass(frozen=True, slots=True)
class Support:
    """m applications that have ended, laid out so that others are quickly compared with all of them."""

    points: Points
    columns: NDArray[np.float32]
    """(words, m): their words, dense."""
    numbers: Array
    """(2 * NUM_NUMBERS, m)"""
    squares: Array
    """(m,): of their numbers, together."""

    @classmethod
    def of(cls, points: Points, encoding: Encoding) -> "Support":
        columns = points.words.columns(len(encoding.vocabulary))
        return cls(points, columns, np.ascontiguousarray(points.numbers.T), (points.numbers**2).sum(axis=1))

    def alike(self, asked: Points, cosines: Array | None = None) -> Array:
        """(n, m): 3 for the same, almost 0 for what differs in everything: kind · (a + b + a·b), where a is a Gaussian
        of the numbers' distance, and b the exponential of the words' cosine, or of `cosines`, (n, m), in its place."""
        distances = (asked.numbers**2).sum(axis=1)[:, None] + self.squares - 2 * (asked.numbers @ self.numbers)
        numbers = np.exp(-_NUMBER_RATE * distances)
        words = np.exp(_WORD_RATE * ((asked.words.cosines(self.columns) if cosines is None else cosines) - 1))
        kinds = np.where(asked.kind_rows[:, None] == self.points.kind_rows, 1.0, _OTHER_KIND)
        return np.asarray(kinds * ((numbers + 1) * (words + 1) - 1))


@dataclass(frozen=True, slots=True)
class Estimate:
    encoding: Encoding
    support: "Support"
    coefficients: Array
    """(m,)"""
    deviations: Array
    """(m,): how far each of them was from what the others say of it, in spreads of its kind."""
    band_of_kind: Array
    """(kinds + 1, quantiles): of the residuals, in the deviations expected."""

    def quantiles(self, asked: Sequence[Features]) -> Array:
        """(n, quantiles) of log cost."""
        points = self.encoding.points(asked)
        return _log_costs(self.encoding, points.kind_rows, *self._targets(points))

    def _targets(self, points: Points) -> tuple[Array, Array]:
        likeness = self.support.alike(points)
        middle = likeness @ self.coefficients
        usual = float(self.deviations.mean())
        expected = (likeness @ self.deviations + _PRIOR_LIKENESS * usual) / (likeness.sum(axis=1) + _PRIOR_LIKENESS)
        return middle, expected[:, None] * self.band_of_kind[points.kind_rows]


@dataclass(frozen=True, slots=True)
class Fitted:
    estimate: Estimate
    left_out: Array
    """(n, quantiles): log costs of the examples themselves, each as predicted by the others."""


def fitted(encoding: Encoding, features: Sequence[Features], costs: Array, seed: int) -> Fitted:
    """`costs`: (n,), log."""
    points = encoding.points(features)
    rows = points.kind_rows
    support = chosen_support(rows, MAX_SUPPORT, seed)
    those = Support.of(points.of(support), encoding)
    targets = (costs - encoding.middle_of_kind[rows]) / encoding.spread_of_kind[rows]
    likeness = those.alike(points)
    found = fit(likeness, support, targets)
    residuals = targets - found.left_out
    deviations = np.abs(residuals)
    # Smoothed without the point itself, as it will be for those that come.
    usual = float(deviations.mean())
    own = np.zeros(len(costs))
    own[support] = 3.0
    sums = likeness @ deviations[support] - own * deviations
    expected = (sums + _PRIOR_LIKENESS * usual) / (likeness.sum(axis=1) - own + _PRIOR_LIKENESS)
    band = shrunk_quantiles(residuals / np.maximum(expected, 1e-6), rows, len(encoding.kinds), QUANTILES)
    # Of a kind never seen, little more is known than how far all of them lie apart.
    apart = (costs - encoding.middle_of_kind[-1]) / encoding.spread_of_kind[-1]
    band[-1] = np.quantile(apart, QUANTILES) / max(usual, 1e-6)
    # The middle lies between them, whatever the residuals of few applications say.
    band[:, 0], band[:, 1], band[:, 2] = np.minimum(band[:, 0], 0), 0, np.maximum(band[:, 2], 0)
    estimate = Estimate(encoding, those, found.coefficients, deviations[support], band)
    return Fitted(estimate, _log_costs(encoding, rows, found.left_out, expected[:, None] * band[rows]))


def _log_costs(encoding: Encoding, rows: Rows, middle: Array, band: Array) -> Array:
    """(n, quantiles)"""
    within = np.minimum(np.maximum(middle, -_MAX_TARGET), _MAX_TARGET)
    return within_reason(
        encoding.middle_of_kind[rows, None] + encoding.spread_of_kind[rows, None] * (within[:, None] + band)
    )
