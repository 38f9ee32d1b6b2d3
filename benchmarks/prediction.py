"""How good the cost predictor is, how fast it learns, and what it takes: python -m benchmarks.prediction

    quality         5 folds, every model and kind; and with all runs of a task in one fold
    progress        the first estimate, and the refined one after a third of the calls
    learning        errors after 10 … 1,000 applications, starting from nothing
    unseen          each kind left out of training entirely
    latency         one prediction, a batch, a refinement, loading; on one core
    training        seconds for what was recorded, and for 10,000
    heavier         a sentence-embedding model in the place of the words, beside ours in the same run

The recordings are those of `benchmarks.workloads`; without them, 1,000 applications of our own sample, whose first
calls tell little of their costs. Run it with OMP_NUM_THREADS=1 on a machine that does nothing else.
"""

import importlib.util
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.workloads import TRACES, have_recordings
from gateway.demo.surroundings import StolenTime, machine, versions
from gateway.learning.drawing import draw
from gateway.learning.examples import of_recorded
from gateway.workloads.first_calls import first_call_of
from gateway.workloads.sample import sample_applications
from gateway.workloads.traces import RecordedApplication, read_applications
from predictor import regression, report
from predictor.artifacts import dumps, loads
from predictor.encoding import Array, Encoding
from predictor.estimate import Support
from predictor.evaluation import folds_of, quality
from predictor.examples import Example
from predictor.features import Features
from predictor.training import train

RESULT = Path(__file__).parent / "results" / "prediction.json"
FIGURES = Path(__file__).parent.parent / "docs" / "figures" / "prediction"
FILES = ("apps_suite9.jsonl.gz", "apps_tau_airline.jsonl.gz", "apps_hotpot_react.jsonl.gz")

_TIMED = 3000


def recordings() -> list[RecordedApplication]:
    if not have_recordings():
        return sample_applications(1000, seed=1)
    return [application for name in FILES for application in read_applications(TRACES / name)]


def main() -> None:
    recorded = recordings()
    examples, stolen = of_recorded(recorded), StolenTime()
    found: dict[str, Any] = {"machine": machine(), "versions": versions(), "has_recordings": have_recordings()}
    found["latency"] = _latency(recorded, examples)
    found["training"] = _training(examples)
    found["heavier"] = _heavier(recorded, examples)
    judgement = report.judged(examples, by_task=False, told=_told)
    found["quality"] = judgement.rows
    found["by_task"] = report.judged(examples, by_task=True, told=_told).rows
    found["without_words"] = _without_words(examples)
    found["progress"] = report.progress_rows(examples, told=_told)
    found["learning"] = report.learning_curve(examples, num_seeds=5, told=_told)
    found["unseen"] = report.held_out_kinds(examples, told=_told)
    found["stolen_share"] = stolen.share()
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    draw(examples, judgement.quantiles, FIGURES)
    print(RESULT)


def _told(what: str) -> None:
    print(f"{what} …", file=sys.stderr, flush=True)


# --- what it takes ----------------------------------------------------------------------------------------------------


def _latency(recorded: Sequence[RecordedApplication], examples: Sequence[Example]) -> dict[str, Any]:
    model = train(examples)
    blob = dumps(model, {})
    began = time.perf_counter()
    loads(blob)
    loading_ms = 1e3 * (time.perf_counter() - began)
    firsts = [first_call_of(application) for application in recorded]

    def read_and_predict(number: int) -> None:
        first = firsts[number % len(firsts)]
        model.quantiles([Features.of(kind=first.kind, text=first.text, prompt_tokens=first.prompt_tokens)])

    took_ms = [_timed_ms(lambda number=number: read_and_predict(number)) for number in range(_TIMED)]
    return {
        "read_and_predict_p50_ms": round(float(np.quantile(took_ms, 0.5)), 4),
        "read_and_predict_p99_ms": round(float(np.quantile(took_ms, 0.99)), 4),
        **report.latency(model, examples, count=_TIMED),
        "artifact_bytes": len(blob),
        "load_ms": round(loading_ms, 1),
        **_in_a_new_process(blob),
    }


def _timed_ms(call: Any) -> float:
    began = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - began)


_NEW_PROCESS = """
import json, re, sys, time

def memory_kib():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read()).group(1))

began, before = time.perf_counter(), memory_kib()
from predictor.artifacts import loads
from predictor.features import Features
imported = time.perf_counter()
model = loads(sys.stdin.buffer.read()).model
model.quantiles([Features.of(kind="k", text="what is asked", prompt_tokens=10)])
print(json.dumps({"import_ms": round(1e3 * (imported - began), 1),
                  "first_prediction_ms": round(1e3 * (time.perf_counter() - began), 1),
                  "memory_mib": round((memory_kib() - before) / 1024, 1)}))
"""


def _in_a_new_process(blob: bytes) -> dict[str, float]:
    """From nothing to the first prediction, and what that adds to a process."""
    done = subprocess.run([sys.executable, "-c", _NEW_PROCESS], input=blob, capture_output=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _training(examples: Sequence[Example]) -> list[dict[str, Any]]:
    """More than were recorded are made of those, each with its costs a little changed."""
    found = []
    for count in (len(examples), 10_000):
        draw = random.Random(1)
        those = (
            list(examples) if count == len(examples) else [_varied(draw.choice(examples), draw) for _ in range(count)]
        )
        began, cpu = time.perf_counter(), time.process_time()
        train(those)
        took = {"wall_s": round(time.perf_counter() - began, 1), "cpu_s": round(time.process_time() - cpu, 1)}
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found.append({"applications": count, **took, "peak_memory_mib": round(peak_mib)})
    return found


def _varied(example: Example, draw: random.Random) -> Example:
    factor = draw.uniform(0.8, 1.25)
    progress = tuple(replace(one, service=one.service * factor) for one in example.progress)
    return replace(example, cost=example.cost * factor, progress=progress)


def _without_words(examples: Sequence[Example]) -> dict[str, Any]:
    """What a gateway learns that keeps no hashes of words, as it is by default."""
    wordless = [replace(example, features=example.features.without_words(), progress=()) for example in examples]
    folds = folds_of(wordless, report.NUM_FOLDS)
    predicted = np.empty(len(wordless))
    for fold in np.unique(folds):
        asked = np.flatnonzero(folds == fold)
        model = train([wordless[number] for number in np.flatnonzero(folds != fold)])
        predicted[asked] = model.log_costs([wordless[number].features for number in asked])
    return asdict(quality(wordless, predicted))


# --- a heavier way ----------------------------------------------------------------------------------------------------


def _heavier(recorded: Sequence[RecordedApplication], examples: Sequence[Example]) -> dict[str, Any]:
    """The same kernel regression with the cosine of sentence embeddings where ours has that of TF-IDF words."""
    if importlib.util.find_spec("wordllama") is None:
        return {"left_out": "wordllama is not installed"}
    import wordllama

    began = time.perf_counter()
    # Its tokenizer lies in the package as its weights do, but is looked for in the cache only.
    embedder = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    loading_s = time.perf_counter() - began
    texts = [first_call_of(application).text[:4096] or " " for application in recorded]
    took_ms = [_timed_ms(lambda text=text: embedder.embed([text], norm=True)) for text in texts]
    vectors = np.asarray(embedder.embed(texts, norm=True), dtype=np.float64)
    folds = folds_of(examples, report.NUM_FOLDS)
    rows = []
    for name, others in (("embedding", vectors), ("words", None)):
        predicted = np.empty(len(examples))
        for fold in np.unique(folds):
            seen, asked = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            predicted[asked] = _kernel_medians(examples, seen, asked, others)
        rows.append({"likeness": name, **asdict(quality(examples, predicted))})
    return {
        "model": "WordLlama, 256 dimensions",
        "rows": rows,
        "embedding_p50_ms": round(float(np.quantile(took_ms, 0.5)), 4),
        "embedding_p99_ms": round(float(np.quantile(took_ms, 0.99)), 4),
        "load_s": round(loading_s, 2),
    }


def _kernel_medians(examples: Sequence[Example], seen: Any, asked: Any, vectors: Array | None) -> Array:
    learnt = [examples[number] for number in seen]
    encoding = Encoding.fitted(learnt)
    points, others = (encoding.points([examples[number].features for number in part]) for part in (seen, asked))
    support = Support.of(points, encoding)
    rows, costs = points.kind_rows, np.log([example.cost for example in learnt])
    targets = (costs - encoding.middle_of_kind[rows]) / encoding.spread_of_kind[rows]
    if vectors is None:
        kernel, between = support.alike(points), support.alike(others)
    else:
        kernel = support.alike(points, vectors[seen] @ vectors[seen].T)
        between = support.alike(others, vectors[asked] @ vectors[seen].T)
    fitted = regression.fit(kernel, np.arange(len(seen)), targets)
    medians = encoding.middle_of_kind[others.kind_rows]
    return np.asarray(medians + encoding.spread_of_kind[others.kind_rows] * (between @ fitted.coefficients))


if __name__ == "__main__":
    main()
