"""A model as bytes and back; and everything else that calls itself one."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from predictor.artifacts import ArtifactError, dumps, load, loads, save
from predictor.encoding import MAX_KINDS
from predictor.model import CostModel
from predictor.training import train
from tests.predictor.applications import examples, retrying

ABOUT = {"trained_at": "2026-11-21", "examples": 80}
ASKED = examples(30, seed=2)
RUN = retrying(1)[0]


@pytest.fixture(scope="module")
def model() -> CostModel:
    return train([*examples(60), *retrying(20)])


@pytest.fixture(scope="module")
def blob(model: CostModel) -> bytes:
    return dumps(model, ABOUT)


def test_what_comes_back_predicts_the_same(model: CostModel, blob: bytes) -> None:
    back = loads(blob)
    assert back.about == ABOUT
    assert back.model.kinds == model.kinds == ("chat", "map", "retry")
    features = [example.features for example in ASKED]
    assert (back.model.quantiles(features) == model.quantiles(features)).all()
    assert (back.model.refined(RUN.features, RUN.progress[0]) == model.refined(RUN.features, RUN.progress[0])).all()
    assert dumps(back.model, back.about) == blob


def test_the_version_is_of_these_bytes_alone(model: CostModel, blob: bytes) -> None:
    assert loads(blob).version == loads(dumps(model, ABOUT)).version
    assert loads(blob).version != loads(dumps(model, {})).version
    assert len(loads(blob).version) == 16


def test_models_of_little_come_back(tmp_path: Path) -> None:
    for number, seen in enumerate((examples(1), [*examples(4)], retrying(20))):
        wordless = train(seen)
        back = save(tmp_path / str(number), dumps(wordless, {})).model
        features = [example.features for example in ASKED]
        assert (back.quantiles(features) == wordless.quantiles(features)).all()


def test_a_kind_for_every_application_is_bounded(tmp_path: Path) -> None:
    [example] = examples(1)
    many = [replace(example, features=replace(example.features, kind=f"kind {number}")) for number in range(1100)]
    found = save(tmp_path, dumps(train(many), {})).model
    assert len(found.kinds) == MAX_KINDS
    assert np.exp(found.log_costs([many[0].features, many[-1].features])) == pytest.approx([example.cost] * 2, rel=0.1)


# --- files ------------------------------------------------------------------------------------------------------------


def test_saved_and_loaded(tmp_path: Path, blob: bytes) -> None:
    saved = save(tmp_path / "models" / "now", blob)
    found = load(tmp_path / "models" / "now")
    assert (found.version, found.about) == (saved.version, ABOUT)
    readable = json.loads((tmp_path / "models" / "now" / "model.json").read_text())
    assert readable["version"] == saved.version
    assert readable["about"] == ABOUT
    assert sorted(path.name for path in (tmp_path / "models" / "now").iterdir()) == ["model.json", "model.safetensors"]


def test_files_of_different_models_are_refused(tmp_path: Path, model: CostModel, blob: bytes) -> None:
    save(tmp_path, blob)
    (tmp_path / "model.safetensors").write_bytes(dumps(model, {"other": True}))
    with pytest.raises(ArtifactError, match=r"model\.json is not of"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff" * 100])
def test_missing_and_broken_files_are_refused(tmp_path: Path, blob: bytes, name: str, content: bytes | None) -> None:
    save(tmp_path, blob)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=r"^[^\n]+$"):
        load(tmp_path)


def test_what_is_no_model_is_not_saved_over_one(tmp_path: Path, blob: bytes) -> None:
    save(tmp_path, blob)
    with pytest.raises(ArtifactError):
        save(tmp_path, blob[:-1])
    assert load(tmp_path).version == loads(blob).version


# --- hostile bytes ----------------------------------------------------------------------------------------------------


def test_cut_off_anywhere_it_is_refused(blob: bytes) -> None:
    for length in [*range(0, 40), *range(40, len(blob), len(blob) // 50), len(blob) - 1]:
        with pytest.raises(ArtifactError, match=r"^[^\n]+$"):
            loads(blob[:length])


def test_a_byte_changed_anywhere_is_refused_or_still_a_sound_model(blob: bytes) -> None:
    draw = np.random.default_rng(1)
    for place in [*range(0, 200), *draw.integers(0, len(blob), 300)]:
        changed = bytearray(blob)
        changed[place] ^= int(draw.integers(1, 256))
        with suppress(ArtifactError):
            found = loads(bytes(changed)).model
            assert np.isfinite(found.quantiles([RUN.features])).all()
            assert np.isfinite(found.refined(RUN.features, RUN.progress[0])).all()


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        b"\x80\x04\x95model",
        b"\xff" * 64,
        (2**63).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{}",
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
        save_arrays({"a": np.zeros(3)}),
        save_arrays({"a": np.zeros(3)}, {"justitia_cost_model": "{"}),
        save_arrays({"a": np.zeros(3)}, {"justitia_cost_model": "[" * 50_000}),
        save_arrays({"a": np.zeros(3)}, {"justitia_cost_model": '{"format": 99}'}),
        save_arrays({"a": np.zeros(3)}, {"justitia_cost_model": '{"format": 1, "kinds": ["a"], "about": {}}'}),
    ],
)
def test_foreign_bytes_are_refused(foreign: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"^[^\n]+$"):
        loads(foreign)


def _header(blob: bytes) -> dict[str, Any]:
    length = int.from_bytes(blob[:8], "little")
    found = json.loads(json.loads(blob[8 : 8 + length])["__metadata__"]["justitia_cost_model"])
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": 2},
        {"format": None},
        {"kinds": []},
        {"kinds": ["chat", "map"]},
        {"kinds": ["chat", "map", "map"]},
        {"kinds": ["retry", "map", "chat"]},
        {"kinds": ["chat", "map", 3]},
        {"kinds": ["chat", "map", "r" * 1000]},
        {"kinds": [f"{number:09}" for number in range(10**4)]},
        {"about": "nothing"},
    ],
)
def test_a_wrong_header_is_refused(blob: bytes, wrong: dict[str, Any]) -> None:
    header = {**_header(blob), **wrong}
    with pytest.raises(ArtifactError, match=r"^[^\n]+$"):
        loads(save_arrays(load_arrays(blob), {"justitia_cost_model": json.dumps(header)}))


Spoil = Callable[[dict[str, Any]], object]

_SPOILS: dict[str, Spoil] = {
    "one is missing": lambda arrays: arrays.pop("idf"),
    "one is too many": lambda arrays: arrays.update(extra=np.zeros(1)),
    "another type": lambda arrays: arrays.update(idf=arrays["idf"].astype(np.float32)),
    "another shape": lambda arrays: arrays.update(coefficients=arrays["coefficients"][:, None]),
    "one shorter": lambda arrays: arrays.update(coefficients=arrays["coefficients"][1:]),
    "no support": lambda arrays: arrays.update(
        {
            name: array[:0]
            for name, array in arrays.items()
            if name in ("coefficients", "deviations", "support.kind_rows", "support.numbers", "support.words.places")
            or name == "support.words.weights"
        }
        | {"support.words.starts": np.zeros(1, dtype=np.int64)}
    ),
    "a huge refinement": lambda arrays: arrays.update(
        {
            "refinement.kind_rows": np.zeros(10**4, dtype=np.int64),
            "refinement.signs": np.zeros((10**4, 7)),
            "refinement.coefficients": np.zeros(10**4),
        }
    ),
    "not finite": lambda arrays: arrays["coefficients"].__setitem__(0, np.nan),
    "infinite": lambda arrays: arrays["refinement.signs"].__setitem__((0, 0), np.inf),
    "beyond reason": lambda arrays: arrays["coefficients"].__setitem__(0, 1e300),
    "no spread": lambda arrays: arrays["spread_of_kind"].__setitem__(0, 0.0),
    "no spread of a number": lambda arrays: arrays["number_spread_of_kind"].__setitem__((0, 0), 0.0),
    "a middle beyond reason": lambda arrays: arrays["middle_of_kind"].__setitem__(0, 800.0),
    "vocabulary not rising": lambda arrays: arrays["vocabulary"].__setitem__(0, 2**32 - 1),
    "a row of no kind": lambda arrays: arrays["support.kind_rows"].__setitem__(0, 4),
    "a negative row": lambda arrays: arrays["refinement.kind_rows"].__setitem__(0, -1),
    "a word beyond the vocabulary": lambda arrays: arrays["support.words.places"].__setitem__(0, 10**6),
    "a negative place": lambda arrays: arrays["support.words.places"].__setitem__(0, -1),
    "rows of words that overlap": lambda arrays: arrays["support.words.starts"].__setitem__(1, 10**6),
    "rows of words that end early": lambda arrays: arrays["support.words.starts"].__setitem__(-1, 0),
    "a heavy word": lambda arrays: arrays["support.words.weights"].__setitem__(0, 50.0),
    "a negative deviation": lambda arrays: arrays["deviations"].__setitem__(0, -1.0),
    "a trust above 1": lambda arrays: arrays["refinement.trust_of_kind"].__setitem__(0, 1.5),
    "a band that falls": lambda arrays: arrays["band_of_kind"].__setitem__((0, 0), 5.0),
    "a refined band that falls": lambda arrays: arrays["refinement.band_of_kind"].__setitem__((0, 0, 1), -5.0),
}


@pytest.mark.parametrize("spoil", _SPOILS.values(), ids=_SPOILS.keys())
def test_arrays_that_do_not_fit_are_refused(blob: bytes, spoil: Spoil) -> None:
    arrays = {name: array.copy() for name, array in load_arrays(blob).items()}
    spoil(arrays)
    with pytest.raises(ArtifactError, match=r"^[^\n]+$"):
        loads(save_arrays(arrays, {"justitia_cost_model": json.dumps(_header(blob))}))
