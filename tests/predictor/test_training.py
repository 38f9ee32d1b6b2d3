"""Training from little, from odd examples, and from many."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest

from predictor.examples import Example
from predictor.features import Features, Progress
from predictor.training import train
from tests.predictor.applications import examples, retrying

SEEN = examples(60)
ASKED = [example.features for example in examples(20, seed=2)]


def wordless(example: Example) -> Example:
    return replace(example, features=example.features.without_words())


@pytest.mark.parametrize(
    "seen",
    [
        SEEN[:20],
        [*SEEN[:20], *retrying(20)],
        [example for example in SEEN if example.features.kind == "chat"][:20],
        [replace(example, cost=5.0) for example in SEEN[:20]],
        [wordless(example) for example in SEEN[:20]],
        [SEEN[0]] * 20,
        retrying(20),
        [replace(example, cost=5e4) for example in retrying(20)],
        SEEN[:1],
        [replace(SEEN[n], features=replace(SEEN[n].features, kind=f"kind {n}")) for n in range(20)],
        [replace(SEEN[n], cost=10.0 ** (n * 2 - 20)) for n in range(20)],
    ],
)
def test_little_is_enough_for_answers_within_reason(seen: list[Example]) -> None:
    model = train(seen)
    quantiles = model.quantiles([*ASKED, *(example.features for example in seen)])
    refined = model.refined(ASKED[0], Progress(1, 1, 10, 100.0))
    costs = [math.log(example.cost) for example in seen]
    for found in (quantiles, refined[None]):
        assert np.isfinite(found).all()
        assert (np.diff(found) >= 0).all()
    assert (min(costs) - 50 < quantiles).all()
    assert (quantiles < max(costs) + 50).all()


def test_constant_costs_are_predicted() -> None:
    model = train([replace(example, cost=5.0) for example in SEEN[:20]])
    assert np.exp(model.log_costs(ASKED)) == pytest.approx([5.0] * 20, rel=0.05)


def test_a_run_that_went_astray_does_not_draw_its_kind_along() -> None:
    usual = [replace(example, cost=1000.0 + n) for n, example in enumerate(SEEN[:30])]
    astray = [replace(example, cost=1e9) for example in SEEN[30:33]]
    model = train([*usual, *astray])
    assert np.median(np.exp(model.log_costs(ASKED))) < 2000


def test_the_same_examples_give_the_same_model() -> None:
    one, again = (train([*SEEN, *retrying(20)], seed=1).quantiles(ASKED) for _ in range(2))
    assert (one == again).all()


def test_training_tells_how_far_it_is() -> None:
    for seen in (SEEN, [*SEEN, *retrying(20)]):
        told: list[tuple[int, int]] = []
        train(seen, told=lambda done, total, told=told: told.append((done, total)))  # type: ignore[misc]
        [total] = {total for _, total in told}
        assert [done for done, _ in told] == sorted(done for done, _ in told)
        assert told[-1] == (total, total)


@pytest.mark.parametrize("cost", [0.0, -1.0, math.nan, math.inf, 1e300, 1e-300])
def test_a_cost_that_is_none_is_refused(cost: float) -> None:
    with pytest.raises(ValueError, match="cost"):
        train([*SEEN, replace(SEEN[0], cost=cost)])


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(ValueError, match="no examples"):
        train([])


def test_more_examples_than_support_take_seconds() -> None:
    began = time.process_time()
    seen = examples(2500)
    model = train(seen)
    assert time.process_time() - began < 60
    asked = examples(60, seed=2)
    errors = model.log_costs([example.features for example in asked]) - np.log([example.cost for example in asked])
    assert np.median(np.abs(errors)) < 0.1


def test_a_thousand_kinds_are_kept_apart() -> None:
    def named(number: int) -> Features:
        return Features.of(kind=f"kind {number}", text="the same", prompt_tokens=100)

    seen = [Example(named(n % 200), 10.0 ** (n % 5 + 1)) for n in range(1000)]
    found = train(seen).log_costs([named(n) for n in range(200)]) / math.log(10)
    assert found == pytest.approx([n % 5 + 1 for n in range(200)], abs=0.2)
