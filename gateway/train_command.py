"""`justitia train`: learn what applications cost, from recordings or from what the gateway itself has seen."""

import argparse
import asyncio
import importlib
import importlib.util
import math
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from gateway.errors import StoreUnavailable
from gateway.learning.examples import of_closed, of_recorded
from gateway.learning.training import NOTHING_BETTER
from gateway.predictor_command import MIN_APPLICATIONS, NOT_INSTALLED, is_installed
from gateway.settings import ImpossibleSetting, Settings, load_settings
from gateway.workloads.traces import TraceError, read_applications

_EXAMPLE = """examples:
  justitia train --traces runs.jsonl.gz --out artifact          learn from recordings; then: justitia predictor report
  justitia train --publish                                      learn from what this machine's gateway has seen
  justitia train --publish --redis redis://127.0.0.1:6379/0     the same for all gateways that share a Redis

A published predictor is taken into use by running gateways within seconds, and only if it is better than running means.
"""

_HELD_OUT = 5
"""One in so many applications tells how good it is."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "train",
        help="learn what applications cost",
        description="Train the cost predictor from recorded applications, or from the gateway's own record.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--traces", nargs="+", type=Path, metavar="APPS", help="recorded applications (default: the gateway's record)")
    add("--out", type=Path, metavar="DIR", help="write the artifact here")
    add("--publish", action="store_true", help="take it into use in every gateway of this machine, or of this Redis")
    add("--model", choices=("kernel", "network"), help="what first estimates are made by (default: kernel)")
    add("--redis", metavar="URL", help="the gateways' Redis (default: as JUSTITIA_STORE__REDIS_URL says)")
    add("--config", type=Path, metavar="FILE", help="settings as TOML")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.out is None and not args.publish:
        return _complain("say --out DIR, --publish or both")
    if not is_installed():
        return _complain(NOT_INSTALLED)
    try:
        settings = load_settings(os.environ, args.config, {"store": {"redis_url": args.redis}} if args.redis else {})
        model = args.model or settings.learning.model
        if model == "network" and importlib.util.find_spec("torch") is None:
            return _complain("a network needs torch to be trained (justitia-gateway[comparison])")
        examples = _examples(args.traces, settings)
    except (ImpossibleSetting, TraceError, StoreUnavailable) as error:
        return _complain(str(error))
    if len(examples) < MIN_APPLICATIONS:
        return _complain(f"{len(examples)} applications are too few to learn from ({MIN_APPLICATIONS} at least)")
    blob, about = _trained(examples, model)
    first, refined = about["mean_abs_log_error"], about["refined_mean_abs_log_error"]
    mean = about["mean_abs_log_error_of_kind_mean"]
    print(
        f"{len(examples)} applications; mean |log error| of those held out: {first:.3f} at the first call, "
        f"{refined:.3f} as calls end, {mean:.3f} by the kind's mean"
    )
    if args.out is not None:
        try:
            importlib.import_module("predictor.artifacts").save(args.out, blob)
        except OSError as error:
            return _complain(f"--out {args.out}: {error.strerror or error}")
        print(f"written to {args.out}")
    if not args.publish:
        return 0
    if (first + refined) / 2 >= mean:
        print("not published: no better than the kind's mean", file=sys.stderr)
        return NOTHING_BETTER
    try:
        version = asyncio.run(_published(blob, settings))
    except StoreUnavailable as error:
        return _complain(error.message)
    print(f"published: {version}")
    return 0


def _examples(traces: Sequence[Path] | None, settings: Settings) -> list[Any]:
    if traces:
        return of_recorded([application for path in traces for application in read_applications(path)])
    return of_closed(asyncio.run(_history(settings)))


async def _history(settings: Settings) -> Any:
    from gateway.storage import storage_of  # Redis's client and more: not for every command's start

    history = storage_of(settings).history()
    try:
        return await history.read(settings.learning.max_recorded)
    finally:
        await history.aclose()


async def _published(blob: bytes, settings: Settings) -> str:
    from gateway.storage import storage_of

    shelf = storage_of(settings).shelf()
    try:
        return (await shelf.publish(blob)).version
    finally:
        await shelf.aclose()


def _trained(examples: list[Any], middle: str) -> tuple[bytes, dict[str, Any]]:
    """How good it is comes from a model that did not see the held-out ones; what is kept has seen all."""
    from tqdm import tqdm

    training = importlib.import_module("predictor.training")
    evaluation = importlib.import_module("predictor.evaluation")
    kind_mean = importlib.import_module("predictor.baselines").kind_mean
    shuffled = random.Random(0).sample(examples, len(examples))
    held_out, rest = shuffled[::_HELD_OUT], [e for n, e in enumerate(shuffled) if n % _HELD_OUT]
    asked = [example.features for example in held_out]
    with tqdm(total=2.0, desc="training", bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}") as bar:

        def told(round_: int) -> Any:
            def tell(done: int, total: int) -> None:
                bar.update(round_ + done / total - bar.n)

            return tell

        trial = training.train(rest, middle=middle, told=told(0))
        model = training.train(examples, middle=middle, told=told(1))
    found = evaluation.quality(held_out, trial.log_costs(asked))
    mean = evaluation.quality(held_out, kind_mean(rest)(asked))
    about = {
        "model": middle,
        "examples": len(examples),
        "trained_at": round(time.time()),
        "mean_abs_log_error": found.mean_abs_log_error,
        "refined_mean_abs_log_error": round(_refined_error(trial, held_out), 4),
        "median_relative_error": found.median_relative_error,
        "spearman": found.spearman,
        "mean_abs_log_error_of_kind_mean": mean.mean_abs_log_error,
    }
    return importlib.import_module("predictor.artifacts").dumps(model, about), about


def _refined_error(model: Any, examples: Sequence[Any]) -> float:
    """Mean |log error| as calls end, the first call's included: an application's own mean counts once."""
    errors = []
    for example in examples:
        true = math.log(example.cost)
        middles = [model.log_costs([example.features])[0]]
        middles += [model.refined(example.features, progress)[1] for progress in example.progress]
        errors.append(fmean(abs(float(middle) - true) for middle in middles))
    return fmean(errors)


def _complain(message: str) -> int:
    print(f"justitia train: {message}", file=sys.stderr)
    return 2
