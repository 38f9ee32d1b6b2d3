"""From an example to numbers. Fitted once, to the training examples; plain arrays, so that it can be stored as such."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import HashingVectorizer

from predictor.examples import Example

Array = NDArray[np.float64]

NUM_WORDS = 2048
"""Places that words are hashed to; some collide."""
MAX_CHARACTERS = 4096
"""Of a text, from its beginning: bounds the time that a hostile prompt can take."""
NUM_LENGTHS = 6
_MIN_SPREAD = 0.1
_MIN_LENGTH_SPREAD = 0.05
_MAX_DEVIATION = 4.0


@dataclass(frozen=True, slots=True)
class Encoding:
    """Rows of `*_of_kind` are the known kinds, and last all of them together."""

    kinds: tuple[str, ...]
    idf: Array
    """(NUM_WORDS,)"""
    middle_of_kind: Array
    """(kinds + 1,): mean of log cost."""
    spread_of_kind: Array
    """(kinds + 1,): its standard deviation."""
    length_mean_of_kind: Array
    """(kinds + 1, NUM_LENGTHS)"""
    length_spread_of_kind: Array

    @classmethod
    def fitted(cls, examples: Sequence[Example]) -> "Encoding":
        kinds = tuple(sorted({example.kind for example in examples}))
        counts = _word_counts(examples)
        idf = np.log((1 + len(examples)) / (1 + (counts > 0).sum(axis=0))) + 1
        costs = np.log([example.cost for example in examples])
        lengths = np.array([_lengths(example) for example in examples])
        groups = [[n for n, example in enumerate(examples) if example.kind == kind] for kind in kinds]
        groups.append(list(range(len(examples))))
        return cls(
            kinds,
            np.asarray(idf, dtype=np.float64),
            np.array([costs[group].mean() for group in groups]),
            np.array([costs[group].std() + _MIN_SPREAD for group in groups]),
            np.array([lengths[group].mean(axis=0) for group in groups]),
            np.array([lengths[group].std(axis=0) + _MIN_LENGTH_SPREAD for group in groups]),
        )

    @property
    def num_inputs(self) -> int:
        """Besides the words."""
        return 2 * NUM_LENGTHS + len(self.kinds)

    def kind_rows(self, examples: Sequence[Example]) -> NDArray[np.int64]:
        """Each example's row of the `*_of_kind` arrays."""
        rows = {kind: row for row, kind in enumerate(self.kinds)}
        return np.array([rows.get(example.kind, len(self.kinds)) for example in examples])

    def words(self, examples: Sequence[Example]) -> Array:
        """(n, NUM_WORDS): TF-IDF with logarithmic frequencies, each row of length 1 or empty."""
        weighted = np.log1p(_word_counts(examples)) * self.idf
        norms = np.linalg.norm(weighted, axis=1, keepdims=True)
        return np.asarray(weighted / np.where(norms > 0, norms, 1.0))

    def inputs(self, examples: Sequence[Example]) -> Array:
        """(n, num_inputs): lengths against all, lengths against their kind, which kind."""
        lengths = np.array([_lengths(example) for example in examples])
        rows = self.kind_rows(examples)
        against_all = (lengths - self.length_mean_of_kind[-1]) / self.length_spread_of_kind[-1]
        against_kind = (lengths - self.length_mean_of_kind[rows]) / self.length_spread_of_kind[rows]
        which = rows[:, None] == np.arange(len(self.kinds))
        deviations = np.clip(np.concatenate([against_all, against_kind], axis=1), -_MAX_DEVIATION, _MAX_DEVIATION)
        return np.concatenate([deviations, which], axis=1)

    def targets(self, examples: Sequence[Example]) -> Array:
        """(n,): how far log cost lies from the kind's middle, in its spreads."""
        rows, costs = self.kind_rows(examples), np.log([example.cost for example in examples])
        return np.asarray((costs - self.middle_of_kind[rows]) / self.spread_of_kind[rows])

    def log_costs(self, examples: Sequence[Example], targets: Array) -> Array:
        """The way back. `targets`: (n,) or (n, m)."""
        rows = self.kind_rows(examples)
        middle, spread = self.middle_of_kind[rows], self.spread_of_kind[rows]
        if targets.ndim == 2:
            middle, spread = middle[:, None], spread[:, None]
        return np.asarray(middle + spread * targets)


_VECTORIZER = HashingVectorizer(n_features=NUM_WORDS, alternate_sign=False, norm=None)


def _word_counts(examples: Sequence[Example]) -> Array:
    counts: Any = _VECTORIZER.transform([example.text[:MAX_CHARACTERS] for example in examples])
    return np.asarray(counts.toarray(), dtype=np.float64)


def _lengths(example: Example) -> list[float]:
    text = example.text[:MAX_CHARACTERS]
    return [
        float(np.log(max(1, example.prompt_tokens))),
        float(np.log1p(len(example.text))),
        float(np.log1p(text.count("\n"))),
        float(np.log1p(text.count("?"))),
        sum(map(str.isdigit, text)) / max(1, len(text)),
        float(np.log1p(len(set(text.split())))),
    ]
