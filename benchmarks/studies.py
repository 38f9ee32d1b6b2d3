"""Every simulated study, and the command that carries them out.

python -m benchmarks.studies                  all of them, one after another, and then the report
python -m benchmarks.studies policies bound   these
"""

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.predictions import GITTINS, REFINED, REFINED_AT, REFINED_BUT, REFINED_WITHOUT_WORDS
from benchmarks.report import written
from benchmarks.study import AS_HELD, Case, Study, Variant, carried_out
from benchmarks.workloads import Recipe
from gateway.replay.measures import lateness_to_gps
from gateway.replay.model import Run, in_full
from gateway.replay.scenario import EngineShape
from gateway.workloads.workload import Workload

RESULTS = Path(__file__).parent / "results"

HALF_POOL = EngineShape(kv_blocks=230)
MEDIUM_POOL = EngineShape(kv_blocks=1024)
LARGE_POOL = EngineShape(kv_blocks=2812)
SHARING_POOL = EngineShape(kv_blocks=2812, has_prefix_caching=True)
FOUR = (
    Variant("vtc", "vtc"),
    Variant("fcfs", "fcfs"),
    Variant("srjf", "srjf"),
    Variant("justitia", "justitia"),
)
SEVEN = (
    *FOUR,
    Variant("app-fcfs", "app-fcfs"),
    Variant("sjf", "sjf"),
    Variant("las", "las"),
)


def of_single_stages(workload: Workload, run: Run) -> dict[str, float]:
    """Lateness of the applications that the bound is derived for: all their calls come when they do."""
    late = [
        value
        for recorded, value in zip(workload.applications, lateness_to_gps(run), strict=True)
        if not any(call.after or call.delay_s for call in recorded.calls)
    ]
    return {"single_stages": len(late), "worst_lateness_of_single_stages": round(max(late, default=0.0))}


def of_the_elephant(workload: Workload, run: Run) -> dict[str, float]:
    return {
        "elephant_jct_s": round(run.completions[0].jct_s, 2),
        "elephant_lateness_to_gps": round(lateness_to_gps(run)[0]),
        "mean_mouse_jct_s": round(fmean(completion.jct_s for completion in run.completions[1:]), 3),
    }


def of_the_pieces(workload: Workload, run: Run) -> dict[str, float]:
    """When the one job was done, whole or in pieces, and what the others had of it."""
    largest = max(run.completions, key=lambda completion: completion.service)
    pieces = [completion for completion in run.completions if completion.kind == "piece"] or [largest]
    others = [completion.jct_s for completion in run.completions if completion not in pieces]
    return {
        "job_jct_s": round(max(piece.finished_at for piece in pieces) - pieces[0].arrived_at, 2),
        "mean_jct_of_others_s": round(fmean(others), 3),
    }


def of_the_crowd(workload: Workload, run: Run) -> dict[str, float]:
    """Of the tenant with the most applications, and of the others."""
    by_tenant: dict[bool, list[float]] = {True: [], False: []}
    for recorded, completion in zip(workload.applications, run.completions, strict=True):
        by_tenant[recorded.tenant == "crowd"].append(completion.jct_s)
    return {
        "mean_jct_of_the_crowd_s": round(fmean(by_tenant[True]), 3),
        "mean_jct_of_others_s": round(fmean(by_tenant[False]), 3),
    }


STUDIES = (
    Study(
        "policies",
        "Every policy, and justitia with every kind of prediction, on the suite and a small memory.",
        (Case("suite", Recipe("suite")),),
        (
            *SEVEN,
            Variant("srjf, kind mean", "srjf", "kind mean"),
            Variant("justitia, kind mean", "justitia", "kind mean"),
            Variant("justitia, p + 2d", "justitia", "p + 2d"),
            Variant("justitia, noise 30 %", "justitia", "noise 30 %"),
            Variant("justitia, 8 largest / 100", "justitia", "8 largest / 100"),
        ),
        drawn_labels=("vtc", "fcfs", "srjf", "justitia", "justitia, kind mean"),
        notes=of_single_stages,
    ),
    Study(
        "predictions",
        "What the kind alone can tell, what the predictor sees in the first call, and what refining adds.",
        (Case("suite", Recipe("suite")), Case("agents and suite", Recipe("everything recorded"), MEDIUM_POOL)),
        (
            Variant("justitia", "justitia"),
            Variant("justitia, global mean", "justitia", "global mean"),
            Variant("justitia, kind mean", "justitia", "kind mean"),
            Variant("justitia, kind median", "justitia", "kind median"),
            Variant("justitia, kind, Gittins", "justitia", GITTINS),
            Variant("justitia, predictor", "justitia", "predictor"),
            Variant("justitia, predictor, refined", "justitia", REFINED),
            Variant("justitia, no words", "justitia", "predictor without words"),
            Variant("justitia, no words, refined", "justitia", REFINED_WITHOUT_WORDS),
            Variant("justitia, its kind unseen", "justitia", "predictor, its kind unseen"),
            Variant("srjf, kind mean", "srjf", "kind mean"),
            Variant("srjf, kind, Gittins", "srjf", GITTINS),
            Variant("srjf, predictor", "srjf", "predictor"),
            Variant("srjf, predictor, refined", "srjf", REFINED),
        ),
    ),
    Study(
        "refining",
        "How large a change of an estimate is worth a change of the order.",
        (Case("suite", Recipe("suite")),),
        (
            Variant("justitia, not refined", "justitia", "predictor"),
            *(Variant(f"justitia, {name.removeprefix('predictor, ')}", "justitia", name) for name in REFINED_AT),
        ),
    ),
    Study(
        "kinds",
        "Whose errors matter: predicted and refined, but of one kind the true costs.",
        (Case("suite", Recipe("suite")),),
        (
            Variant("justitia", "justitia"),
            Variant("justitia, refined", "justitia", REFINED),
            *(Variant(f"justitia, {name.removeprefix('predictor, ')}", "justitia", name) for name in REFINED_BUT),
        ),
    ),
    Study(
        "errors",
        "What an error of a known size costs: every prediction off by a log-normal factor.",
        (Case("suite", Recipe("suite")),),
        (
            Variant("justitia", "justitia"),
            *(
                Variant(f"justitia, σ = {sigma:g}", "justitia", f"log-normal {sigma:g}")
                for sigma in (0.1, 0.2, 0.3, 0.5, 0.7)
            ),
            Variant("srjf, σ = 0.3", "srjf", "log-normal 0.3"),
        ),
    ),
    Study(
        "density",
        "The same applications arriving twice and three times as fast.",
        tuple(Case(f"{density:g}x", Recipe("suite", density=density)) for density in (1.0, 2.0, 3.0)),
        FOUR,
    ),
    Study(
        "doc_merge",
        "With merging of documents in the suite, half of its large applications, and six times the memory.",
        (Case("suite with doc_merge", Recipe("suite with doc_merge"), LARGE_POOL),),
        SEVEN,
    ),
    Study(
        "passing",
        "Calls that go past one whose memory is not there, for so many iterations.",
        (
            Case("suite", Recipe("suite")),
            Case("half the memory", Recipe("suite"), HALF_POOL),
            Case("suite, at once", Recipe("suite", at_once=True)),
            Case("suite with doc_merge", Recipe("suite with doc_merge"), LARGE_POOL),
        ),
        (
            Variant("vtc", "vtc"),
            Variant("justitia", "justitia"),
            *(
                Variant(f"justitia, passing for {count}", "justitia", passing_iterations=count)
                for count in (32, 128, 512)
            ),
            Variant("justitia, passing always", "justitia", passing_iterations=10**9),
            Variant("srjf, passing for 128", "srjf", passing_iterations=128),
            Variant("vtc, passing for 128", "vtc", passing_iterations=128),
        ),
    ),
    Study(
        "patterns",
        "Other ways to come and to wait.",
        (
            Case("bursts of ten", Recipe("suite", arrivals="bursts")),
            Case("tools of 10 s", Recipe("suite", tool_wait_s=10.0)),
            Case("task parallel", Recipe("task parallel")),
            Case("our own sample", Recipe("sample", arrivals="poisson", window_s=40.0)),
        ),
        FOUR,
    ),
    Study(
        "agents",
        "Recorded tool-calling and question-answering agents, with and without prefix caching.",
        (
            Case("tau_airline", Recipe("tau_airline", count=150), LARGE_POOL),
            Case("tau_airline, sharing", Recipe("tau_airline", count=150), SHARING_POOL),
            Case("hotpot_react", Recipe("hotpot_react", count=150), LARGE_POOL),
            Case("hotpot_react, sharing", Recipe("hotpot_react", count=150), SHARING_POOL),
        ),
        (
            *FOUR,
            Variant("justitia, predicted as held", "justitia", AS_HELD),
            Variant("justitia, charged in full", "justitia", charging=in_full),
        ),
        num_seeds=5,
    ),
    Study(
        "bound",
        "All calls of an application at once, as the delay bound assumes: observed lateness beside 2·M·D.",
        (
            Case("suite, at once", Recipe("suite", at_once=True)),
            Case("task parallel, at once", Recipe("task parallel", at_once=True)),
        ),
        FOUR,
    ),
    Study(
        "elephant",
        "One elephant among ever more mice.",
        tuple(Case(f"{mice:,} mice", Recipe("elephant among mice", count=mice)) for mice in (100, 1_000, 10_000)),
        (Variant("srjf", "srjf"), Variant("fcfs", "fcfs"), Variant("justitia", "justitia")),
        num_seeds=1,
        notes=of_the_elephant,
    ),
    Study(
        "splitting",
        "What a tenant gains by handing its largest job in as many applications.",
        (
            Case("whole", Recipe("suite")),
            Case("whole, its calls at once", Recipe("suite", job_at_once=True)),
            Case("in 4 pieces", Recipe("suite", pieces=4)),
            Case("in 16 pieces", Recipe("suite", pieces=16)),
        ),
        (
            Variant("vtc", "vtc"),
            Variant("justitia", "justitia"),
            Variant("justitia, tenants share", "justitia", shares="tenant"),
        ),
        notes=of_the_pieces,
    ),
    Study(
        "tenants",
        "Five tenants, one of whom hands in a fifth, half or four fifths of all applications.",
        tuple(Case(f"{crowd:.0%} are one tenant's", Recipe("suite", crowd=crowd)) for crowd in (0.2, 0.5, 0.8)),
        (
            Variant("vtc", "vtc"),
            Variant("justitia", "justitia"),
            Variant("justitia, tenants share", "justitia", shares="tenant"),
        ),
        notes=of_the_crowd,
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [study.name for study in STUDIES]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)} (default: all)")
    chosen = parser.parse_args().names
    for name in set(chosen) - set(names):
        parser.error(f"no study is called {name!r}")
    for study in STUDIES:
        if not chosen or study.name in chosen:
            save(carried_out(study), RESULTS / f"{study.name}.json")
            print(f"{study.name}.json", flush=True)
    written()


def save(report: dict[str, Any], path: Path) -> None:
    """A row a line: these files are compared and read by people, too."""
    head = {key: value for key, value in report.items() if key != "rows"}
    text = json.dumps(head, indent=1)[:-2] + ',\n "rows": [\n  '
    text += ",\n  ".join(json.dumps(row, separators=(",", ":")) for row in report["rows"]) + "\n ]\n}\n"
    path.write_text(text)


if __name__ == "__main__":
    main()
