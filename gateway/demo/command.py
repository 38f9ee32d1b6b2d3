"""`justitia demo`: what can be asked for, what is shown, and the exit code.

0: every call of every run ended well. 1: something could not be started, or calls failed. 2: what was asked for makes
no sense, a trace file included. 130 and 143: stopped by Ctrl-C and SIGTERM; with --keep, that is the good end, and 0.
"""

import argparse
import asyncio
import importlib.metadata
import importlib.util
import json
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from gateway.demo.arguments import MAX_NUM_SEQS, add_arguments, sizes_of, workload_of
from gateway.demo.client import Costs
from gateway.demo.meter import EngineUnusable
from gateway.demo.processes import ChildFailed
from gateway.demo.prompts import PreparedApplication, PromptTooLong
from gateway.demo.report import raw, table
from gateway.demo.stage import EngineChoice, RunChoice, RunningEngine, all_runs, engine, kept, prepared_workload
from gateway.demo.surroundings import machine, versions
from gateway.demo.terminal import Terminal
from gateway.fairness.policies import PolicyName
from gateway.workloads.traces import TraceError
from gateway.workloads.workload import Workload, WorkloadError

_EXAMPLES = """examples:
  justitia demo --keep
  justitia demo --policy fcfs vtc justitia --rounds 3 --json demo.json
  justitia demo --traces apps.jsonl.gz --arrivals arrivals.csv.gz --applications 60 --rounds 3
"""

_NEEDED = ("openai", "tqdm")
"""What the extra `demo` brings."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "demo",
        help="real applications through a real engine, side by side under two policies",
        description="Starts an engine and, for each policy, a gateway; sends the same applications through each with"
        " the OpenAI client; prints how long they took.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    terminal = Terminal()
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        terminal.complain(f"{' and '.join(missing)} missing: pip install 'justitia-gateway[demo]'")
        return 1
    if args.engine is None and importlib.util.find_spec("vllm") is None:
        terminal.complain(
            "vLLM is not installed: pip install 'justitia-gateway[engine]', or [engine-cpu] on a machine without a GPU"
        )
        return 1
    try:
        workload = workload_of(args)
    except (TraceError, WorkloadError) as error:
        terminal.complain(str(error))
        return 2
    return asyncio.run(_until_done_or_stopped(_Demo(args, workload, terminal)))


async def _until_done_or_stopped(demo: "_Demo") -> int:
    """The demo's exit code, or that of the signal that ended it, all children being gone."""
    task = asyncio.ensure_future(demo.play())
    received: list[signal.Signals] = []

    def stop(which: signal.Signals) -> None:
        if not received:  # the second time would interrupt the stopping, and leave children behind
            received.append(which)
            task.cancel()

    loop = asyncio.get_running_loop()
    for which in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(which, stop, which)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        return 0 if demo.is_serving else 128 + received[0]


class _Demo:
    """One demo from the start of its engine to its report."""

    def __init__(self, args: argparse.Namespace, workload: Workload, terminal: Terminal) -> None:
        self._args = args
        self._sizes = sizes_of(args)
        self._workload = workload
        self._terminal = terminal
        self._choice = RunChoice(
            tuple(dict.fromkeys(cast(list[PolicyName], args.policy or ["fcfs", "justitia"]))),
            args.rounds,
            cast(Costs, args.costs),
            args.stream,
            args.time_scale,
        )
        self.is_serving = False
        """The comparison is over and all was well: being stopped now is the good end."""

    async def play(self) -> int:
        logs = Path(tempfile.mkdtemp(prefix="justitia-demo-"))
        exit_code = 1
        try:
            exit_code = await self._play(logs)
        except (ChildFailed, EngineUnusable, PromptTooLong) as error:
            self._terminal.complain(str(error))
        except asyncio.CancelledError:
            if not self.is_serving:
                self._terminal.complain("stopped")
            exit_code = 0
            raise
        finally:
            _discard_logs(logs, were_needed=exit_code != 0)
        return exit_code

    async def _play(self, logs: Path) -> int:
        args, sizes = self._args, self._sizes
        choice = EngineChoice(args.engine, args.model, sizes.kv_blocks, sizes.max_model_len, MAX_NUM_SEQS)
        started_s = time.monotonic()
        async with engine(choice, logs, self._terminal) as running:
            self._terminal.say(_engine_line(running, time.monotonic() - started_s))
            applications = await prepared_workload(self._workload, running, self._choice.time_scale, self._terminal)
            self._terminal.say(_workload_line(applications, self._workload, self._choice))
            runs = await all_runs(applications, running, self._choice, logs, self._terminal)
            self._terminal.say(f"\n{table(runs)}\n")
            if args.json is not None:
                report = {**self._setting(running, applications), **raw(runs)}
                args.json.write_text(json.dumps(report, indent=1) + "\n")
            failures = [failure for one in runs for failure in one.failures]
            if failures:
                self._terminal.complain(f"{len(failures)} failures, the first: {failures[0]}; logs: {logs}")
                return 1
            if args.keep:
                self.is_serving = True
                await kept(running, self._choice.policies[-1], args.port, logs, self._terminal)
        return 0

    def _setting(self, running: RunningEngine, applications: Sequence[PreparedApplication]) -> dict[str, Any]:
        """What the numbers depend on."""
        args, sizes, choice = self._args, self._sizes, self._choice
        return {
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "versions": versions(),
            "engine": {
                "model": running.model.name,
                "max_model_len": running.model.max_model_len,
                "num_blocks": running.num_blocks,
                "block_size": running.block_size,
                "max_num_seqs": None if args.engine else MAX_NUM_SEQS,
            },
            "settings": {
                "policies": choice.policies,
                "rounds": choice.rounds,
                "costs": choice.costs,
                "streaming": choice.is_streaming,
                "traces": [path.name for path in args.traces] or "sample",
                "arrivals": "poisson" if args.arrivals is None else args.arrivals.name,
                "window_s": sizes.window_s,
                "time_scale": choice.time_scale,
                "seed": args.seed,
            },
            "workload": {
                "applications": len(applications),
                "calls": sum(len(application.calls) for application in applications),
                "clipped_calls": _num_clipped(applications),
                "cost": sum(application.cost for application in applications),
            },
        }


def _discard_logs(logs: Path, were_needed: bool) -> None:
    """They stay only where something is to be read in them."""
    if not were_needed or not any(logs.iterdir()):
        shutil.rmtree(logs, ignore_errors=True)


def _engine_line(running: RunningEngine, seconds: float) -> str:
    tokens = running.num_blocks * running.block_size
    place = f"ready after {seconds:.0f} s" if running.process else f"found at {running.url}"
    return f"vLLM with {running.model.name}, {tokens} tokens of KV memory, {place}"


def _workload_line(applications: Sequence[PreparedApplication], workload: Workload, choice: RunChoice) -> str:
    num_calls = sum(len(application.calls) for application in applications)
    costs = "their true costs declared" if choice.costs == "declared" else "costs from the mean of their kind"
    clipped = _num_clipped(applications)
    return (
        f"{len(applications)} applications, {num_calls} calls, arriving within {workload.arrivals_s[-1]:.0f} s; {costs}"
        + (f"; {clipped} prompts clipped to the model's length" if clipped else "")
    )


def _num_clipped(applications: Sequence[PreparedApplication]) -> int:
    return sum(call.is_clipped for application in applications for call in application.calls)
