"""The other first estimate: a multi-layer perceptron for the median of log cost. torch trains it, numpy runs it.

Several networks that differ only in their first weights are trained together, and their answers averaged. The loss is
the absolute error, in units of log cost. Words pass through one linear layer to a few numbers before
they meet the rest; half of them are left out at random in training, so that no word is learnt by heart.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from predictor.encoding import NUM_NUMBERS, Array, Encoding, Points
from predictor.features import Features

MEMBERS = 4
WORD_NUMBERS = 16
HIDDEN = 64
_DROPOUT = 0.3
_WORD_DROPOUT = 0.5
_LEARNING_RATE = 3e-3
_WEIGHT_DECAY = 1e-2
_BATCH = 64
NUM_STEPS = 2000
"""Of training, however many examples there are: a thousand see each some hundred times, ten thousand a dozen."""
_MAX_TARGET = 8.0
"""In spreads of the kind, as in the kernel's estimate."""
_TOLD_EVERY = 50


@dataclass(frozen=True, slots=True)
class Network:
    """Weights have a leading dimension of members; (member, inputs, outputs) and (member, outputs)."""

    encoding: Encoding
    weights: Mapping[str, Array]

    def log_costs(self, asked: Sequence[Features]) -> Array:
        """(n,)"""
        w, points = self.weights, self.encoding.points(asked)
        read = [weights @ w["words"][:, places] for places, weights in map(points.words.row, range(len(asked)))]
        inputs = np.broadcast_to(_inputs(self.encoding, points), (MEMBERS, len(asked), num_inputs(self.encoding)))
        x = np.concatenate([np.stack(read, axis=1), inputs], axis=2)
        for layer in ("first", "second"):
            x = _silu(x @ w[layer] + w[f"{layer}_bias"][:, None])
        targets = (x @ w["last"] + w["last_bias"][:, None]).mean(axis=0)[:, 0]
        middle, spread = (
            of_kind[points.kind_rows] for of_kind in (self.encoding.middle_of_kind, self.encoding.spread_of_kind)
        )
        return np.asarray(middle + spread * np.clip(targets, -_MAX_TARGET, _MAX_TARGET))


def shapes(num_words: int, num_kinds: int) -> dict[str, tuple[int, ...]]:
    """Of every array of weights."""
    layers: dict[str, tuple[int, int]] = {
        "words": (num_words, WORD_NUMBERS),
        "first": (WORD_NUMBERS + 2 * NUM_NUMBERS + num_kinds + 1, HIDDEN),
        "second": (HIDDEN, HIDDEN),
        "last": (HIDDEN, 1),
    }
    found: dict[str, tuple[int, ...]] = {name: (MEMBERS, *size) for name, size in layers.items()}
    return found | {f"{name}_bias": (MEMBERS, size[1]) for name, size in layers.items() if name != "words"}


def num_inputs(encoding: Encoding) -> int:
    """Besides the words."""
    return 2 * NUM_NUMBERS + len(encoding.kinds) + 1


def trained(
    encoding: Encoding,
    features: Sequence[Features],
    costs: Array,
    *,
    seed: int = 0,
    num_steps: int = NUM_STEPS,
    told: Callable[[int, int], None] | None = None,
) -> Network:
    """`costs`: (n,), log. Half a minute on one slow core, however many there are."""
    import torch

    points = encoding.points(features)
    generator = torch.Generator().manual_seed(seed)  # torch's own stays as it is

    def tensor(array: Any) -> Any:
        return torch.tensor(np.asarray(array), dtype=torch.float32)

    def kept(x: Any, dropout: float) -> Any:
        return x * (torch.rand(x.shape, generator=generator) >= dropout) / (1 - dropout)

    words = tensor(points.words.columns(len(encoding.vocabulary)).T)
    inputs, spreads = tensor(_inputs(encoding, points)), tensor(encoding.spread_of_kind[points.kind_rows])
    targets = tensor((costs - encoding.middle_of_kind[points.kind_rows]) / encoding.spread_of_kind[points.kind_rows])
    weights: dict[str, Any] = {}
    for name, shape in shapes(len(encoding.vocabulary), len(encoding.kinds)).items():
        bound = 0.0 if name.endswith("_bias") else max(1, shape[1]) ** -0.5
        weights[name] = torch.empty(shape).uniform_(-bound, bound, generator=generator).requires_grad_()
    optimizer = torch.optim.AdamW(weights.values(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2 * _LEARNING_RATE, total_steps=num_steps)
    for step in range(num_steps):
        batch = torch.randint(len(features), (MEMBERS, min(_BATCH, len(features))), generator=generator)
        x = torch.bmm(kept(words[batch], _WORD_DROPOUT), weights["words"])
        x = torch.cat([x, inputs[batch]], dim=2)
        for name in ("first", "second"):
            x = torch.baddbmm(weights[f"{name}_bias"][:, None], x, weights[name])
            x = kept(torch.nn.functional.silu(x), _DROPOUT)
        answers = torch.baddbmm(weights["last_bias"][:, None], x, weights["last"])
        loss = ((targets[batch] - answers[:, :, 0]) * spreads[batch]).abs().mean(dim=1).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if told is not None and (step + 1) % _TOLD_EVERY == 0:
            told(step + 1, num_steps)
    return Network(encoding, {name: value.detach().numpy().astype(np.float64) for name, value in weights.items()})


def _inputs(encoding: Encoding, points: Points) -> Array:
    """(n, num_inputs): numbers against all and against their kind, which kind."""
    which = points.kind_rows[:, None] == np.arange(len(encoding.kinds) + 1)
    return np.concatenate([points.numbers, which], axis=1)


def _silu(x: Array) -> Array:
    return np.asarray(x / (1 + np.exp(-np.clip(x, -60, 60))))
