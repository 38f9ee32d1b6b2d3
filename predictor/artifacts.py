"""A trained model as bytes, and back. safetensors: arrays and a JSON header, nothing that is run when it is read.

What is read may have been cut off, mixed up or made by somebody else. So `loads` believes nothing: every array's name,
type, shape, range and size is checked against the others before a model is made of them.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from predictor.encoding import MAX_KINDS, MAX_VOCABULARY, NUM_NUMBERS, Encoding, Points, Words
from predictor.estimate import MAX_SUPPORT, Estimate, Support
from predictor.features import MAX_FACTS, MAX_KIND_CHARACTERS, MAX_WORDS
from predictor.model import CostModel
from predictor.network import Network, shapes
from predictor.refinement import MAX_STAGES, NUM_BANDS, NUM_SIGNS, Refinement
from predictor.regression import QUANTILES

FORMAT = 1
"""Another one for every change of an array's meaning: the constants of the kernels are part of it."""
MAX_BYTES = 32 * 2**20
_MAX_HEADER = 2**20
_MAX_VALUE = 1e9
_KEY = "justitia_cost_model"


class ArtifactError(ValueError):
    """Why these bytes are no model: one line."""


@dataclass(frozen=True, slots=True)
class Artifact:
    model: CostModel
    about: Mapping[str, Any]
    version: str
    """16 hexadecimal digits: of these bytes and no others."""


def dumps(model: CostModel, about: Mapping[str, Any]) -> bytes:
    """`about`: what JSON can say, such as when and from what it was trained."""
    header = {"format": FORMAT, "kinds": list(model.kinds), "about": dict(about)}
    return save_arrays(_arrays(model), {_KEY: json.dumps(header, sort_keys=True)})


def loads(blob: bytes) -> Artifact:
    """Raises ArtifactError."""
    header = _header(blob)
    try:
        arrays = load_arrays(blob)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"the arrays cannot be read: {_one_line(error)}") from None
    kinds = _kinds(header.get("kinds"))
    about = header.get("about")
    if not isinstance(about, dict):
        raise ArtifactError("the header says nothing about the model")
    _check(arrays, len(kinds))
    return Artifact(_model(arrays, kinds), about, version_of(blob))


def version_of(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()[:16]


def save(folder: Path, blob: bytes) -> Artifact:
    """model.safetensors, and model.json for people. Each is whole or not there; between the two, `load` refuses them.

    Raises ArtifactError, before anything is written, and OSError.
    """
    artifact = loads(blob)
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / "model.safetensors", blob)
    about = {"version": artifact.version, "kinds": list(artifact.model.kinds), "about": artifact.about}
    _replace(folder / "model.json", (json.dumps(about, indent=2, sort_keys=True) + "\n").encode())
    return artifact


def load(folder: Path) -> Artifact:
    """Raises ArtifactError, also where the two files are of different models."""
    try:
        with (folder / "model.safetensors").open("rb") as file:
            blob = file.read(MAX_BYTES + 1)
        with (folder / "model.json").open("rb") as file:
            about = json.loads(file.read(_MAX_HEADER))
    except OSError as error:
        raise ArtifactError(f"{folder}: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise ArtifactError(f"{folder}: model.json is not JSON") from None
    try:
        artifact = loads(blob)
    except ArtifactError as error:
        raise ArtifactError(f"{folder}: {error}") from None
    if not isinstance(about, dict) or about.get("version") != artifact.version:
        raise ArtifactError(f"{folder}: model.json is not of model.safetensors")
    return artifact


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


# --- header -----------------------------------------------------------------------------------------------------------


def _header(blob: bytes) -> dict[str, Any]:
    if not 8 <= len(blob) <= MAX_BYTES:
        raise ArtifactError(f"{len(blob)} bytes are no model")
    length = int.from_bytes(blob[:8], "little")
    if not 2 <= length <= min(_MAX_HEADER, len(blob) - 8):
        raise ArtifactError("is not safetensors, or cut off")
    try:
        outer = json.loads(blob[8 : 8 + length])
        inner = json.loads(outer["__metadata__"][_KEY])
    except (ValueError, RecursionError, KeyError, TypeError):
        raise ArtifactError("is not a cost model") from None
    if not isinstance(inner, dict) or inner.get("format") != FORMAT:
        raise ArtifactError(f"is of another format than {FORMAT}")
    return inner


def _kinds(raw: object) -> tuple[str, ...]:
    if not isinstance(raw, list) or not 1 <= len(raw) <= MAX_KINDS:
        raise ArtifactError("kinds are no list, or too many")
    if not all(isinstance(kind, str) and len(kind) <= MAX_KIND_CHARACTERS for kind in raw):
        raise ArtifactError("a kind is no text, or too long")
    if any(one >= other for one, other in pairwise(raw)):
        raise ArtifactError("kinds do not rise, or one is named twice")
    return tuple(raw)


# --- arrays -----------------------------------------------------------------------------------------------------------

_SHAPES: Mapping[str, tuple[type[Any], tuple[int | str, ...]]] = {
    "vocabulary": (np.int64, ("words",)),
    "idf": (np.float64, ("words",)),
    "middle_of_kind": (np.float64, ("rows",)),
    "spread_of_kind": (np.float64, ("rows",)),
    "number_mean_of_kind": (np.float64, ("rows", NUM_NUMBERS)),
    "number_spread_of_kind": (np.float64, ("rows", NUM_NUMBERS)),
    "support.kind_rows": (np.int64, ("support",)),
    "support.numbers": (np.float64, ("support", 2 * NUM_NUMBERS)),
    "support.words.starts": (np.int64, ("support + 1",)),
    "support.words.places": (np.int64, ("places",)),
    "support.words.weights": (np.float32, ("places",)),
    "coefficients": (np.float64, ("support",)),
    "deviations": (np.float64, ("support",)),
    "band_of_kind": (np.float64, ("rows", len(QUANTILES))),
    "refinement.kind_rows": (np.int64, ("stages",)),
    "refinement.signs": (np.float64, ("stages", NUM_SIGNS)),
    "refinement.coefficients": (np.float64, ("stages",)),
    "refinement.trust_of_kind": (np.float64, ("rows",)),
    "refinement.band_of_kind": (np.float64, ("rows", NUM_BANDS, 2)),
}
"""Of what type, and how long each dimension is: a number, or a name that means the same wherever it stands."""

_NETWORK = "network."
"""What the names of a network's weights begin with, in a model that has one."""

_LARGEST = {
    "words": MAX_VOCABULARY,
    "support": MAX_SUPPORT,
    "places": MAX_SUPPORT * (MAX_WORDS + MAX_FACTS),
    "stages": MAX_STAGES,
}


def _arrays(model: CostModel) -> dict[str, Any]:
    encoding, support = model.estimate.encoding, model.estimate.support.points
    holders: Mapping[str, tuple[object, ...]] = {
        "": (encoding, model.estimate),
        "support.": (support,),
        "support.words.": (support.words,),
        "refinement.": (model.refinement,),
    }
    found = {}
    for name in _SHAPES:
        prefix, last = name[: name.rfind(".") + 1], name[name.rfind(".") + 1 :]
        holder = next(holder for holder in holders[prefix] if hasattr(holder, last))
        found[name] = np.ascontiguousarray(getattr(holder, last))
    weights = {} if model.network is None else model.network.weights
    return found | {f"{_NETWORK}{name}": np.ascontiguousarray(array) for name, array in weights.items()}


def _model(arrays: Mapping[str, Any], kinds: tuple[str, ...]) -> CostModel:
    def part(prefix: str, *names: str) -> list[Any]:
        return [arrays[prefix + name] for name in names]

    encoding = Encoding(kinds, *part("", "vocabulary", "idf", "middle_of_kind", "spread_of_kind", *list(_SHAPES)[4:6]))
    words = Words(*part("support.words.", "starts", "places", "weights"))
    support = Points(arrays["support.kind_rows"], arrays["support.numbers"], words)
    weights = {name.removeprefix(_NETWORK): array for name, array in arrays.items() if name.startswith(_NETWORK)}
    return CostModel(
        Estimate(encoding, Support.of(support, encoding), *part("", "coefficients", "deviations", "band_of_kind")),
        Refinement(*part("refinement.", "kind_rows", "signs", "coefficients", "trust_of_kind", "band_of_kind")),
        Network(encoding, weights) if weights else None,
    )


def _check(arrays: Mapping[str, Any], num_kinds: int) -> None:
    expected = dict(_SHAPES)
    if any(name.startswith(_NETWORK) for name in arrays):
        of_network = shapes(len(arrays["vocabulary"]) if "vocabulary" in arrays else 0, num_kinds)
        expected |= {f"{_NETWORK}{name}": (np.float64, shape) for name, shape in of_network.items()}
    if arrays.keys() != expected.keys():
        raise ArtifactError(f"has other arrays: {_one_line(sorted(arrays.keys() ^ expected.keys()))}")
    sizes: dict[int | str, int] = {"rows": num_kinds + 1}
    for name, (dtype, dimensions) in expected.items():
        array = arrays[name]
        if array.dtype != dtype or array.ndim != len(dimensions):
            raise ArtifactError(f"{name} is of another type or shape")
        for size, dimension in zip(array.shape, dimensions, strict=True):
            wanted = dimension if isinstance(dimension, int) else sizes.setdefault(dimension, size)
            if size != wanted:
                raise ArtifactError(f"{name} does not fit the other arrays")
        if not np.isfinite(array).all() or (np.abs(array) > max(_MAX_VALUE, 2**32 * (dtype is np.int64))).any():
            raise ArtifactError(f"{name} has values beyond reason")
    if any(sizes[name] > largest for name, largest in _LARGEST.items()) or sizes["support"] < 1:
        raise ArtifactError("is larger than any model, or empty")
    for reason, holds in _RELATIONS.items():
        if not holds(arrays, sizes):
            raise ArtifactError(reason)


def _all_within(array: Any, low: float, high: float) -> bool:
    return bool(((array >= low) & (array <= high)).all())


_RELATIONS: Mapping[str, Callable[[Mapping[str, Any], Mapping[int | str, int]], bool]] = {
    "the vocabulary does not rise": lambda a, _: bool((np.diff(a["vocabulary"]) > 0).all()),
    "a spread is not above 0": lambda a, _: (
        _all_within(a["spread_of_kind"], 1e-3, 100) and _all_within(a["number_spread_of_kind"], 1e-3, 1e3)
    ),
    "a middle is no log cost": lambda a, _: _all_within(a["middle_of_kind"], -100, 100),
    "a row is of no kind": lambda a, sizes: (
        _all_within(a["support.kind_rows"], 0, sizes["rows"] - 1)
        and _all_within(a["refinement.kind_rows"], 0, sizes["rows"] - 1)
    ),
    "words do not fit the vocabulary": lambda a, sizes: (
        sizes["support + 1"] == sizes["support"] + 1
        and a["support.words.starts"][0] == 0
        and a["support.words.starts"][-1] == sizes["places"]
        and bool((np.diff(a["support.words.starts"]) >= 0).all())
        and _all_within(a["support.words.places"], 0, sizes["words"] - 1)
        and _all_within(a["support.words.weights"], 0, 1.001)
    ),
    "a deviation is below 0": lambda a, _: _all_within(a["deviations"], 0, 1e6),
    "a trust is not between 0 and 1": lambda a, _: _all_within(a["refinement.trust_of_kind"], 0, 1),
    "a band does not rise": lambda a, _: (
        bool((np.diff(a["band_of_kind"]) >= 0).all()) and bool((np.diff(a["refinement.band_of_kind"]) >= 0).all())
    ),
}


def _one_line(said: object) -> str:
    return " ".join(str(said).split())[:200]
