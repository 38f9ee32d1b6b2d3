"""The predictor on applications whose costs are known to depend on what it sees."""

import math
import random
import time

import numpy as np
import pytest

from predictor.baselines import BASELINES
from predictor.encoding import MAX_CHARACTERS, Encoding
from predictor.evaluation import folds_of, gross_underestimates, out_of_fold, quality
from predictor.examples import Example
from predictor.network import Network, trained
from predictor.report import out_of_fold_costs, rows


def examples(count: int, seed: int = 1) -> list[Example]:
    """Two kinds a thousandfold apart. Within `chat` cost goes with the prompt's length, within `map` with a word."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        noise = draw.uniform(0.95, 1.05)
        if number % 2:
            prompt_tokens = draw.randint(50, 2000)
            text = " ".join(draw.choices(["please", "find", "the", "thing"], k=20))
            found.append(Example("chat", text, prompt_tokens, 10.0 * prompt_tokens * noise, f"task {number % 7}"))
        else:
            word, cost = draw.choice([("short", 1e6), ("thorough", 8e6)])
            text = f"a {word} summary of " + " ".join(draw.choices(["papers", "letters", "minutes"], k=20))
            found.append(Example("map", text, 500, cost * noise, f"task {number % 7}"))
    return found


SEEN, ASKED = examples(300), examples(60, seed=2)


@pytest.fixture(scope="module")
def network() -> Network:
    return trained(SEEN, num_steps=500)


def test_the_network_learns_from_lengths_and_words_what_the_kind_does_not_tell(network: Network) -> None:
    ours = quality(ASKED, network.log_costs(ASKED))
    mean = quality(ASKED, BASELINES["kind mean"](SEEN)(ASKED))
    assert mean.median_relative_error > 0.3
    assert ours.median_relative_error < mean.median_relative_error / 2
    assert ours.spearman > 0.97


def test_quantiles_do_not_cross_and_hold_most_of_what_comes(network: Network) -> None:
    low, middle, high = network.quantiles(ASKED).T
    assert (low <= middle).all()
    assert (middle <= high).all()
    true = np.log([example.cost for example in ASKED])
    assert 0.6 <= np.mean((low <= true) & (true <= high)) <= 1.0


def test_one_at_a_time_is_the_same_as_together(network: Network) -> None:
    together = network.log_costs(ASKED[:8])
    assert [network.log_costs([example])[0] for example in ASKED[:8]] == pytest.approx(list(together))


def test_the_same_seed_gives_the_same_network() -> None:
    one, again, other = (trained(SEEN[:40], seed=seed, num_steps=20).log_costs(ASKED) for seed in (1, 1, 2))
    assert list(one) == list(again) != list(other)


@pytest.mark.parametrize(
    "stranger",
    [
        Example("never seen", "what is this", 300),
        Example("chat", "", 0),
        Example("map", "\x00\ud83d\ude00 " * 50, 10**9),
        Example("chat", "word" * 2_000_000, 100),
    ],
)
def test_strange_calls_get_an_answer_within_reason_and_in_time(network: Network, stranger: Example) -> None:
    began = time.process_time()
    [cost] = network.log_costs([stranger])
    assert time.process_time() - began < 1.0
    costs = [math.log(example.cost) for example in SEEN]
    assert min(costs) - 5 < cost < max(costs) + 5


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_answers_for_known_and_unknown_kinds(name: str) -> None:
    model = BASELINES[name](SEEN)
    answers = model([*ASKED, Example("never seen", "x", 10)])
    assert answers.shape == (len(ASKED) + 1,)
    assert np.isfinite(answers).all()
    # Within a kind, none of them is a thousandfold off; without the kind, there is only the middle of all.
    error = quality(ASKED, answers[:-1]).mean_abs_log_error
    assert error > 2 if name == "global mean" else error < 1


def test_targets_lead_back_to_costs() -> None:
    encoding = Encoding.fitted(SEEN)
    back = encoding.log_costs(ASKED, encoding.targets(ASKED))
    assert list(back) == pytest.approx([math.log(example.cost) for example in ASKED])


def test_words_beyond_the_limit_are_not_read() -> None:
    encoding = Encoding.fitted(SEEN)
    long = "word " * MAX_CHARACTERS
    one, other = (encoding.words([Example("chat", long[:MAX_CHARACTERS] + tail, 10)]) for tail in ("papers", "letters"))
    assert (one == other).all()


# --- measures ---------------------------------------------------------------------------------------------------------


def test_quality_by_hand() -> None:
    those = [Example("k", "", 1, cost) for cost in (1.0, 10.0, 100.0)]
    found = quality(those, np.log([2.0, 10.0, 50.0]))
    assert (found.median_relative_error, found.mean_relative_error) == (0.5, 0.5)
    assert found.mean_abs_log_error == pytest.approx(2 * math.log(2) / 3, abs=1e-4)
    assert found.spearman == 1.0
    assert found.p90_over == pytest.approx(2**0.8, abs=1e-3)
    assert quality(those[:1], np.log([2.0])).spearman == 0.0


def test_gross_underestimates_are_counted_among_the_largest() -> None:
    those = [Example("k", "", 1, float(cost)) for cost in range(1, 21)]
    log_costs = np.log([example.cost for example in those])
    log_costs[19] -= math.log(11)
    log_costs[0] -= math.log(11)
    assert gross_underestimates(those, log_costs) == 0.5


def test_runs_of_a_task_are_in_one_fold() -> None:
    folds = folds_of(SEEN, 5, by_task=True)
    by_task: dict[str, set[int]] = {}
    for example, fold in zip(SEEN, folds, strict=True):
        by_task.setdefault(example.task, set()).add(int(fold))
    assert all(len(found) == 1 for found in by_task.values())
    assert sorted(np.bincount(folds_of(SEEN, 5))) == [60] * 5


def test_nothing_is_predicted_by_what_has_seen_it() -> None:
    def remembering(seen: object) -> object:
        costs = {example.text: math.log(example.cost) for example in seen}  # type: ignore[attr-defined]
        return lambda asked: np.array([costs.get(example.text, -1.0) for example in asked])

    apart = [Example("k", f"text {number}", 1, 5.0) for number in range(20)]
    assert list(out_of_fold(apart, folds_of(apart, 4), remembering)) == [-1.0] * 20  # type: ignore[arg-type]


def test_the_report_has_every_model_and_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    from predictor import report

    monkeypatch.setattr(report, "MODELS", {"kind mean": BASELINES["kind mean"], "boosting": BASELINES["boosting"]})
    told: list[str] = []
    found = rows(SEEN, by_task=False, told=told.append)
    assert told == ["kind mean", "boosting"]
    assert [(row["model"], row["kind"]) for row in found[:3]] == [
        ("kind mean", None),
        ("kind mean", "chat"),
        ("kind mean", "map"),
    ]
    assert len(out_of_fold_costs(SEEN, "kind mean")) == 300
