"""A multi-layer perceptron that answers quantiles of log cost: torch trains it, numpy runs it.

Several networks that differ only in their first weights are trained together, and their answers averaged. The loss is
the pinball loss of three quantiles, in units of log cost. Words pass through one linear layer to a few numbers before
they meet the rest; half of them are left out at random in training, so that no word is learnt by heart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from predictor.encoding import NUM_WORDS, Array, Encoding
from predictor.examples import Example

QUANTILES = (0.1, 0.5, 0.9)
_MEMBERS = 4
_WORD_NUMBERS = 16
_HIDDEN = 64
_DROPOUT = 0.3
_WORD_DROPOUT = 0.5
_LEARNING_RATE = 3e-3
_WEIGHT_DECAY = 1e-2
_BATCH = 64
NUM_STEPS = 2000
"""Of training, however many examples there are: a thousand see each some hundred times, ten thousand a dozen."""


@dataclass(frozen=True, slots=True)
class Network:
    """Weights have a leading dimension of members; `(member, inputs, outputs)` and `(member, outputs)`."""

    encoding: Encoding
    weights: Mapping[str, Array]

    def quantiles(self, examples: Sequence[Example]) -> Array:
        """(n, quantiles) of log cost, never falling from one quantile to the next."""
        w = self.weights
        frequencies = self.encoding.words(examples)
        present = np.flatnonzero(frequencies.any(axis=0))  # a text has some hundred of the words
        words = frequencies[:, present] @ w["words"][:, present]
        inputs = np.broadcast_to(self.encoding.inputs(examples), (len(words), len(examples), self.encoding.num_inputs))
        x = np.concatenate([words, inputs], axis=2)
        x = _silu(x @ w["first"] + w["first_bias"][:, None])
        x = _silu(x @ w["second"] + w["second_bias"][:, None])
        targets = (x @ w["last"] + w["last_bias"][:, None]).mean(axis=0)
        return np.sort(self.encoding.log_costs(examples, targets), axis=1)

    def log_costs(self, examples: Sequence[Example]) -> Array:
        """(n,): medians."""
        return np.asarray(self.quantiles(examples)[:, QUANTILES.index(0.5)])


def trained(examples: Sequence[Example], *, seed: int = 0, num_steps: int = NUM_STEPS) -> Network:
    """Half a minute for a thousand examples on one slow core."""
    import torch

    encoding = Encoding.fitted(examples)
    torch.manual_seed(seed)

    def tensor(array: Any) -> Any:
        return torch.tensor(np.asarray(array), dtype=torch.float32)

    words, inputs = tensor(encoding.words(examples)), tensor(encoding.inputs(examples))
    targets, spreads = tensor(encoding.targets(examples)), tensor(encoding.spread_of_kind[encoding.kind_rows(examples)])
    sizes = {
        "words": (NUM_WORDS, _WORD_NUMBERS),
        "first": (_WORD_NUMBERS + encoding.num_inputs, _HIDDEN),
        "second": (_HIDDEN, _HIDDEN),
        "last": (_HIDDEN, len(QUANTILES)),
    }
    weights = {}
    for name, (fan_in, fan_out) in sizes.items():
        bound = fan_in**-0.5
        weights[name] = torch.empty(_MEMBERS, fan_in, fan_out).uniform_(-bound, bound).requires_grad_()
        if name != "words":
            weights[f"{name}_bias"] = torch.zeros(_MEMBERS, fan_out, requires_grad=True)
    optimizer = torch.optim.AdamW(weights.values(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2 * _LEARNING_RATE, total_steps=num_steps)
    quantiles = torch.tensor(QUANTILES)
    dropout = torch.nn.functional.dropout
    for _ in range(num_steps):
        batch = torch.randint(len(examples), (_MEMBERS, min(_BATCH, len(examples))))
        x = torch.bmm(dropout(words[batch], _WORD_DROPOUT), weights["words"])
        x = torch.cat([x, inputs[batch]], dim=2)
        for name in ("first", "second"):
            x = torch.baddbmm(weights[f"{name}_bias"][:, None], x, weights[name])
            x = dropout(torch.nn.functional.silu(x), _DROPOUT)
        answers = torch.baddbmm(weights["last_bias"][:, None], x, weights["last"])
        errors = (targets[batch][:, :, None] - answers) * spreads[batch][:, :, None]
        loss = torch.maximum(quantiles * errors, (quantiles - 1) * errors).mean(dim=(1, 2)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return Network(encoding, {name: value.detach().numpy().astype(np.float64) for name, value in weights.items()})


def _silu(x: Array) -> Array:
    return np.asarray(x / (1 + np.exp(-np.clip(x, -60, 60))))
