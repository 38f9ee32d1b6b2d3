"""Every baseline answers, and none is a thousandfold off where it knows the kind."""

import numpy as np
import pytest

from predictor.baselines import BASELINES
from predictor.evaluation import quality
from predictor.features import Features
from tests.predictor.applications import examples

SEEN, ASKED = examples(300), examples(60, seed=2)


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_answers_for_known_and_unknown_kinds(name: str) -> None:
    model = BASELINES[name](SEEN)
    stranger = Features.of(kind="never seen", text="x", prompt_tokens=10)
    answers = model([*(example.features for example in ASKED), stranger])
    assert answers.shape == (len(ASKED) + 1,)
    assert np.isfinite(answers).all()
    # Within a kind, none of them is a thousandfold off; without the kind, there is only the middle of all.
    error = quality(ASKED, answers[:-1]).mean_abs_log_error
    assert error > 2 if name == "global mean" else error < 1
