"""First and refined estimates of a trained model."""

import math
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from predictor.baselines import BASELINES
from predictor.evaluation import interval_coverage, quality
from predictor.features import Features, Progress
from predictor.model import CostModel
from predictor.training import train
from tests.predictor.applications import examples, retrying

SEEN, ASKED = examples(300), examples(60, seed=2)
FEATURES = [example.features for example in ASKED]


@pytest.fixture(scope="module")
def model() -> CostModel:
    return train([*SEEN, *retrying(80)])


def test_it_learns_from_lengths_and_words_what_the_kind_does_not_tell(model: CostModel) -> None:
    ours = quality(ASKED, model.log_costs(FEATURES))
    mean = quality(ASKED, BASELINES["kind mean"](SEEN)(FEATURES))
    assert mean.median_relative_error > 0.3
    assert ours.median_relative_error < mean.median_relative_error / 2
    assert ours.spearman > 0.97


def test_quantiles_do_not_cross_and_hold_most_of_what_comes(model: CostModel) -> None:
    quantiles = model.quantiles(FEATURES)
    assert quantiles.shape == (len(FEATURES), 3)
    assert (np.diff(quantiles) >= 0).all()
    assert 0.6 <= interval_coverage(ASKED, quantiles) <= 1.0


def test_one_at_a_time_is_the_same_as_together(model: CostModel) -> None:
    together = model.quantiles(FEATURES[:8])
    assert np.concatenate([model.quantiles([each]) for each in FEATURES[:8]]) == pytest.approx(together)
    assert model.quantiles([]).shape == (0, 3)


def test_a_fact_that_is_common_is_learnt() -> None:
    def told(number: int) -> Features:
        return Features.of(kind="k", text="the same", prompt_tokens=10, facts={"tenant": "ab"[number % 2]})

    seen = [replace(SEEN[0], features=told(n), cost=(1e3, 9e3)[n % 2]) for n in range(60)]
    small, large = np.exp(train(seen).log_costs([told(0), told(1)]))
    assert large > 3 * small


STRANGERS = [
    Features.of(kind="never seen", text="what is this", prompt_tokens=300),
    Features.of(kind="", text="", prompt_tokens=0),
    Features.of(kind="chat", text="\x00\ud83d\ude00 " * 50, prompt_tokens=10**9),
    Features.of(kind="chat", text="word" * 2_000_000, prompt_tokens=100),
    Features.of(kind="map", text="thorough " * 500, prompt_tokens=-7, max_tokens=10**30, num_tools=10**30),
    Features("map", 10**400, -(10**400), -1, (math.nan, math.inf, -math.inf, 1e300, 0.0), ((1, 10**6),)),
]


@pytest.mark.parametrize("stranger", STRANGERS)
def test_strange_calls_get_an_answer_within_reason_and_in_time(model: CostModel, stranger: Features) -> None:
    began = time.process_time()
    quantiles = model.quantiles([stranger])[0]
    assert time.process_time() - began < 0.5
    costs = [math.log(example.cost) for example in SEEN]
    assert min(costs) - 9 < quantiles[0] <= quantiles[1] <= quantiles[2] < max(costs) + 9


# --- refinement -------------------------------------------------------------------------------------------------------


def test_what_shows_only_in_running_is_learnt_from_progress(model: CostModel) -> None:
    first, refined = [], []
    for example in retrying(40, seed=9):
        true = math.log(example.cost)
        first.append(abs(model.quantiles([example.features])[0, 1] - true))
        refined.append(abs(model.refined(example.features, example.progress[0])[1] - true))
    assert np.mean(refined) < 0.5 * np.mean(first)


def test_refined_estimates_hold_most_of_what_comes(model: CostModel) -> None:
    held = []
    for example in retrying(40, seed=9):
        low, _, high = model.refined(example.features, example.progress[-1])
        held.append(low <= math.log(example.cost) <= high)
    assert np.mean(held) >= 0.6


@pytest.mark.parametrize("stranger", [*STRANGERS, SEEN[0].features, retrying(1)[0].features])
@pytest.mark.parametrize(
    "progress",
    [
        Progress(0, 0, 0, 0.0),
        Progress(1, 1, 1, 1e18),
        Progress(10**400, 10**400, 10**400, math.inf),
        Progress(-1, -1, -1, -1.0),
        Progress(5, 5, 5, math.nan),
    ],
)
def test_refined_is_finite_and_never_below_what_was_held(
    model: CostModel, stranger: Features, progress: Progress
) -> None:
    quantiles = model.refined(stranger, progress)
    assert quantiles.shape == (3,)
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles) >= 0).all()
    if 1 <= progress.service < math.inf:
        assert quantiles[0] >= math.log(progress.service)


def test_a_first_estimate_that_was_kept_leads_to_the_same(model: CostModel) -> None:
    example = retrying(1)[0]
    first = model.quantiles([example.features])[0]
    kept = model.refined_from(example.features, first, example.progress[0])
    assert list(kept) == list(model.refined(example.features, example.progress[0]))


def test_without_snapshots_the_first_estimate_stands() -> None:
    model = train(SEEN[:40])
    first = model.quantiles(FEATURES[:1])[0]
    assert list(model.refined(FEATURES[0], Progress(1, 1, 10, 1.0))) == list(first)
    assert (model.refined(FEATURES[0], Progress(1, 1, 10, 1e30)) >= math.log(1e20)).all()


def test_of_a_kind_never_seen_the_first_estimate_stands(model: CostModel) -> None:
    stranger = replace(retrying(1)[0].features, kind="never seen")
    first = model.quantiles([stranger])[0]
    service = math.exp((first[0] + first[1]) / 2)
    refined = model.refined(stranger, Progress(3, 1, 400, service))
    assert list(refined) == pytest.approx([math.log(service), first[1], first[2]])


def test_predicting_imports_neither_torch_nor_scikit_learn() -> None:
    code = (
        "import sys, predictor.model, predictor.artifacts, predictor.training;"
        "print([name for name in ('torch', 'sklearn', 'scipy') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
