"""The perceptron, trained for a moment only: it learns, it is the same for the same seed, it comes back from bytes."""

import numpy as np
import pytest

from predictor import network
from predictor.artifacts import ArtifactError, dumps, loads
from predictor.baselines import kind_mean
from predictor.encoding import Encoding
from predictor.evaluation import quality
from predictor.features import Features
from predictor.model import CostModel
from predictor.training import train
from tests.predictor.applications import examples

SEEN, ASKED = examples(200), examples(60, seed=2)
FEATURES = [example.features for example in ASKED]


@pytest.fixture(scope="module")
def model() -> CostModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network.trained, "__kwdefaults__", {**network.trained.__kwdefaults__, "num_steps": 500})
        return train(SEEN, middle="network")


def test_it_learns_what_the_kind_does_not_tell(model: CostModel) -> None:
    ours, mean = quality(ASKED, model.log_costs(FEATURES)), quality(ASKED, kind_mean(SEEN)(FEATURES))
    assert ours.median_relative_error < mean.median_relative_error / 2


def test_its_answers_are_the_middles_and_intervals_stay_around_them(model: CostModel) -> None:
    assert model.network is not None
    quantiles = model.quantiles(FEATURES)
    assert quantiles[:, 1] == pytest.approx(model.network.log_costs(FEATURES))
    assert (np.diff(quantiles, axis=1) >= 0).all()
    kernel = model.estimate.quantiles(FEATURES)
    assert np.diff(quantiles, axis=1) == pytest.approx(np.diff(kernel, axis=1))


def test_one_at_a_time_is_the_same_as_together(model: CostModel) -> None:
    together = model.quantiles(FEATURES[:5])
    assert np.concatenate([model.quantiles([one]) for one in FEATURES[:5]]) == pytest.approx(together)


def test_the_same_seed_gives_the_same_network_and_leaves_torch_as_it_was() -> None:
    import torch

    encoding, features = Encoding.fitted(SEEN[:40]), [example.features for example in SEEN[:40]]
    costs = np.log([example.cost for example in SEEN[:40]])
    state = torch.get_rng_state()
    one, again, other = (
        network.trained(encoding, features, costs, seed=seed, num_steps=20).log_costs(FEATURES) for seed in (1, 1, 2)
    )
    assert list(one) == list(again) != list(other)
    assert (torch.get_rng_state() == state).all()


def test_it_comes_back_from_bytes(model: CostModel) -> None:
    back = loads(dumps(model, {})).model
    assert (back.quantiles(FEATURES) == model.quantiles(FEATURES)).all()


def test_weights_that_do_not_fit_are_refused(model: CostModel) -> None:
    assert model.network is not None
    weights = dict(model.network.weights)
    for broken in ({"second": weights["first"]}, {"last": weights["last"] * np.nan}, {"third": weights["last"]}):
        bad = CostModel(model.estimate, model.refinement, network.Network(model.estimate.encoding, weights | broken))
        with pytest.raises(ArtifactError):
            loads(dumps(bad, {}))


def test_strangers_are_answered(model: CostModel) -> None:
    strangers = [
        Features.of(kind="never seen", text="", prompt_tokens=0),
        Features.of(kind="chat", text="word " * 10_000, prompt_tokens=10**12, num_tools=10**9),
    ]
    assert np.isfinite(model.quantiles(strangers)).all()
