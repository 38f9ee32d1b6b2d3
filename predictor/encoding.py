"""From features to numbers. Fitted once, to the training examples; plain arrays, so that it can be stored as such."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import log1p

import numpy as np
from numpy.typing import NDArray

from predictor.examples import Example
from predictor.features import MAX_COUNT, NUM_LENGTHS, Features

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

MAX_KINDS = 1024
"""The commonest; others are as never seen."""
MAX_VOCABULARY = 2048
"""Words; dense beside MAX_SUPPORT applications they take 8 MiB."""
NUM_NUMBERS = NUM_LENGTHS + 3
"""Tokens of the prompt, of the limit, tools; and lengths of the text."""
_MIN_SPREAD = 0.1
_MIN_NUMBER_SPREAD = 0.05
_PRIOR_EXAMPLES = 2.0
"""A kind's spread begins as that within all kinds, and counts as much as so many examples."""
_MAX_DEVIATION = 4.0
"""In spreads: a prompt of a billion tokens is no farther away than a very long one."""
_MAX_LENGTH = 100.0


@dataclass(frozen=True, slots=True)
class Points:
    """Encoded features of n applications."""

    kind_rows: Rows
    """(n,): of the `*_of_kind` arrays."""
    numbers: Array
    """(n, 2 * NUM_NUMBERS): against all, then against those of the kind."""
    words: "Words"

    def of(self, rows: Rows) -> "Points":
        """Some of them."""
        return Points(self.kind_rows[rows], self.numbers[rows], self.words.of(rows))


@dataclass(frozen=True, slots=True)
class Words:
    """TF-IDF with logarithmic frequencies, sparse: row i has `places[starts[i]:starts[i + 1]]`, and is of length 1."""

    starts: Rows
    """(n + 1,)"""
    places: Rows
    """In the vocabulary."""
    weights: NDArray[np.float32]

    def row(self, row: int) -> tuple[Rows, NDArray[np.float32]]:
        begin, end = self.starts[row], self.starts[row + 1]
        return self.places[begin:end], self.weights[begin:end]

    def of(self, rows: Rows) -> "Words":
        return Words.stacked([self.row(row) for row in rows])

    @classmethod
    def stacked(cls, rows: Sequence[tuple[Rows, NDArray[np.float32]]]) -> "Words":
        starts = np.array([0, *accumulate(len(places) for places, _ in rows)])
        if len(rows) == 1:
            return cls(starts, *rows[0])
        return cls(starts, np.concatenate([row[0] for row in rows]), np.concatenate([row[1] for row in rows]))

    def columns(self, num_words: int) -> NDArray[np.float32]:
        """(words, n): dense, so that a text is compared with all n by summing the rows of its own few words."""
        found = np.zeros((num_words, len(self.starts) - 1), dtype=np.float32)
        found[self.places, np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))] = self.weights
        return found

    def cosines(self, columns: NDArray[np.float32]) -> Array:
        """(n, m), with m others' `columns`."""
        found = np.zeros((len(self.starts) - 1, columns.shape[1]))
        for row in range(len(found)):
            places, weights = self.row(row)
            found[row] = weights @ columns[places]
        return found


@dataclass(frozen=True, slots=True)
class Encoding:
    """Rows of `*_of_kind` are the known kinds, and last all of them together, which stands for a kind never seen."""

    kinds: tuple[str, ...]
    """Rising."""
    vocabulary: NDArray[np.int64]
    """(words,): the commonest hashes, rising."""
    idf: Array
    """(words,)"""
    middle_of_kind: Array
    """(kinds + 1,): median of log cost."""
    spread_of_kind: Array
    """(kinds + 1,): its standard deviation."""
    number_mean_of_kind: Array
    """(kinds + 1, NUM_NUMBERS)"""
    number_spread_of_kind: Array

    @classmethod
    def fitted(cls, examples: Sequence[Example]) -> "Encoding":
        features = [example.features for example in examples]
        of_kind: dict[str, list[int]] = {}
        for number, each in enumerate(features):
            of_kind.setdefault(each.kind, []).append(number)
        # A client that gives every application a kind of its own must not make the model grow without bound.
        kinds = tuple(sorted(sorted(of_kind, key=lambda kind: (-len(of_kind[kind]), kind))[:MAX_KINDS]))
        groups = [np.array(of_kind[kind]) for kind in kinds]
        groups.append(np.arange(len(features)))
        costs = np.log([example.cost for example in examples])
        numbers = _numbers(features)
        vocabulary, idf = _vocabulary(features)
        return cls(
            kinds,
            vocabulary,
            idf,
            np.array([np.median(costs[group]) for group in groups]),
            _spreads(costs, groups),
            np.array([numbers[group].mean(axis=0) for group in groups]),
            np.array([numbers[group].std(axis=0) + _MIN_NUMBER_SPREAD for group in groups]),
        )

    def kind_rows(self, features: Sequence[Features]) -> Rows:
        """(n,)"""
        return np.array([self.kind_row(each.kind) for each in features], dtype=np.int64)

    def kind_row(self, kind: str) -> int:
        row = bisect_left(self.kinds, kind)
        return row if row < len(self.kinds) and self.kinds[row] == kind else len(self.kinds)

    def points(self, features: Sequence[Features]) -> Points:
        rows, numbers = self.kind_rows(features), _numbers(features)
        mean, spread = self.number_mean_of_kind, self.number_spread_of_kind
        deviations = np.concatenate([(numbers - mean[-1]) / spread[-1], (numbers - mean[rows]) / spread[rows]], axis=1)
        words = Words.stacked([_weighted(each, self.vocabulary, self.idf) for each in features])
        return Points(rows, _clipped(deviations, _MAX_DEVIATION), words)


def _weighted(features: Features, vocabulary: NDArray[np.int64], idf: Array) -> tuple[Rows, NDArray[np.float32]]:
    """One row of `Words`: places, rising but for facts, and weights."""
    pairs = np.array([*features.words, *((fact, 1) for fact in features.facts)], dtype=np.int64).reshape(-1, 2)
    if not len(pairs) or not len(vocabulary):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    places = np.searchsorted(vocabulary, pairs[:, 0])
    places[places == len(vocabulary)] = 0
    known = vocabulary[places] == pairs[:, 0]
    places = places[known]
    weights = np.log1p(pairs[known, 1]) * idf[places]
    return places, (weights / max(float(np.sqrt(weights @ weights)), 1e-12)).astype(np.float32)


def _vocabulary(features: Sequence[Features]) -> tuple[NDArray[np.int64], Array]:
    """Hashes and their inverse document frequencies: the commonest that are in several texts, but not in all."""
    counts = Counter(key for each in features for key in {*(key for key, _ in each.words), *each.facts})
    common = [(count, key) for key, count in counts.items() if 1 < count < len(features)]
    chosen = sorted(key for _, key in sorted(common, key=lambda pair: (-pair[0], pair[1]))[:MAX_VOCABULARY])
    idf = [np.log((1 + len(features)) / (1 + counts[key])) + 1 for key in chosen]
    return np.array(chosen, dtype=np.int64), np.array(idf, dtype=np.float64)


def _spreads(costs: Array, groups: Sequence[Rows]) -> Array:
    """(groups,): standard deviations; those of small groups drawn to that within all but the last."""
    squares = np.array([((costs[group] - costs[group].mean()) ** 2).sum() for group in groups])
    sizes = np.array([len(group) for group in groups])
    within = squares[:-1].sum() / sizes[:-1].sum()
    return np.asarray(np.sqrt((squares + _PRIOR_EXAMPLES * within) / (sizes + _PRIOR_EXAMPLES)) + _MIN_SPREAD)


def _numbers(features: Sequence[Features]) -> Array:
    """(n, NUM_NUMBERS), finite whatever was written into `features`."""
    # One by one: for one application numpy would take ten times longer.
    return np.array(
        [
            [
                *(
                    log1p(min(max(0, count), MAX_COUNT))
                    for count in (each.prompt_tokens, each.max_tokens or 0, each.num_tools)
                ),
                *(min(max(0.0, length), _MAX_LENGTH) for length in each.lengths),  # max(0.0, NaN) is 0.0
            ]
            for each in features
        ]
    ).reshape(-1, NUM_NUMBERS)


def _clipped(values: Array, most: float) -> Array:
    return np.asarray(np.minimum(np.maximum(values, -most), most))  # np.clip takes four times longer for a few
