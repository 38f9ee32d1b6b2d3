"""Kernel regression of medians: how alike two applications are, and what follows from those that have ended.

A prediction is a weighted sum over m support points, K(asked, support) @ coefficients. Coefficients minimise

    Σ_i weight_i · (y_i − K_i c)²  +  ALPHA · cᵀ K c

and are found several times, each time with weights 1 / |residual| of the time before: so least squares become least
absolute deviations, and a run that went astray does not draw its kind along (iteratively reweighted least squares).
What each point would have been predicted without itself follows in closed form from the same matrices; quantiles and
everything that must not be judged by what was trained on it come from there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from predictor.encoding import Array, Rows

QUANTILES = (0.1, 0.5, 0.9)
MAX_LOG_COST = 60.0
"""Either way: beyond MAX_SERVICE, and exp does not overflow, whatever a model from elsewhere says."""
ALPHA = 0.1
"""Of the noise to the kernel, whose own values are around 3 for applications that are alike."""
_ROUNDS = 6
_SMALL_RESIDUAL = 0.1
"""Of a kind's spread: below it residuals weigh the same."""
_JITTER = 1e-8


@dataclass(frozen=True, slots=True)
class Fit:
    coefficients: Array
    """(m,)"""
    left_out: Array
    """(n,): what each point is predicted by all others (with their weights as they were with it)."""


def fit(kernel: Array, support: Rows, y: Array, weights: Array | None = None) -> Fit:
    """`kernel`: (n, m), of all points with the m support points; `support`: (m,), which of the n these are."""
    base = np.ones(len(y)) if weights is None else weights / weights.mean()
    penalty = ALPHA * kernel[support]
    penalty[np.diag_indices_from(penalty)] += _JITTER * len(y)
    now = base
    for _ in range(_ROUNDS):
        weighted = kernel * now[:, None]
        inverse = np.linalg.inv(kernel.T @ weighted + penalty)
        coefficients = inverse @ (y @ weighted)
        fitted = kernel @ coefficients
        now = base / np.sqrt((y - fitted) ** 2 + _SMALL_RESIDUAL**2)
        now *= len(y) / now.sum()
    leverage = np.einsum("nm,nm->n", weighted @ inverse, kernel)
    return Fit(coefficients, y - (y - fitted) / np.maximum(1 - leverage, 0.05))


def chosen_support(groups: Rows, most: int, seed: int) -> Rows:
    """At most so many of the points, rising: all of small groups, as many as there is room for of the large ones."""
    draw = np.random.default_rng(seed)
    left, room, chosen = [np.flatnonzero(groups == group) for group in np.unique(groups)], most, []
    for number, group in enumerate(sorted(left, key=len)):
        share = room // (len(left) - number)
        chosen.append(group if len(group) <= share else draw.choice(group, share, replace=False))
        room -= len(chosen[-1])
    return np.sort(np.concatenate(chosen))


def squared_distances(one: Array, other: Array) -> Array:
    """(n, d), (m, d) → (n, m)"""
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * (one @ other.T)
    return np.asarray(np.maximum(squares, 0.0))


def shrunk_quantiles(residuals: Array, groups: Rows, num_groups: int, quantiles: Sequence[float]) -> Array:
    """(num_groups + 1, quantiles): of each group's residuals, the fewer the nearer to those of all, which come last."""
    of_all = np.quantile(residuals, quantiles)
    found = np.tile(of_all, (num_groups + 1, 1))
    for group in range(num_groups):
        own = residuals[groups == group]
        if len(own):
            trust = len(own) / (len(own) + 10.0)
            found[group] = trust * np.quantile(own, quantiles) + (1 - trust) * of_all
    return found


def within_reason(log_costs: Array) -> Array:
    return np.asarray(np.minimum(np.maximum(log_costs, -MAX_LOG_COST), MAX_LOG_COST))
