"""An unpatched vLLM's load, read from its Prometheus text into an EngineState.

Coarser than what the patch tells: no service, no records of ended calls, and only the number of calls that wait.
"""

from collections import defaultdict
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from gateway.errors import EngineUnreachable
from gateway.fairness.units import Tokens
from gateway.ports import EngineState

ASSUMED_MAX_NUM_SEQS = 256
"""vLLM does not tell its --max-num-seqs; 256 is its default on most hardware. Too large a guess costs order (calls
wait inside the engine), too small a one costs speed."""

_CONFIG = "vllm:cache_config_info"
_USAGE = "vllm:kv_cache_usage_perc"
_RUNNING = "vllm:num_requests_running"
_WAITING = "vllm:num_requests_waiting"
_PREEMPTIONS = "vllm:num_preemptions_total"
_STARTED = "process_start_time_seconds"
_WANTED = {_CONFIG, _USAGE, _RUNNING, _WAITING, _PREEMPTIONS, _STARTED}


def read_stock_state(text: str, engine: str) -> EngineState:
    """Raises EngineUnreachable for text that lacks what a vLLM says of its KV cache."""
    try:
        return _state(text)
    except (ValueError, KeyError) as error:
        raise EngineUnreachable(f"engine {engine}: /metrics tells nothing of a KV cache ({error!r})") from error


def _state(text: str) -> EngineState:
    samples: dict[str, list[Sample]] = defaultdict(list)
    for family in text_string_to_metric_families("\n".join(_wanted_lines(text)) + "\n"):
        for sample in family.samples:
            samples[sample.name].append(sample)

    def total(name: str) -> int:
        return int(sum(sample.value for sample in samples[name]))

    # One of each; with data parallelism one a rank, told apart by the label `engine`.
    capacities = {sample.labels.get("engine", ""): _capacity(sample) for sample in samples[_CONFIG]}
    usages = {sample.labels.get("engine", ""): sample.value for sample in samples[_USAGE]}
    if not capacities:
        raise KeyError(_CONFIG)
    started = max((sample.value for sample in samples[_STARTED]), default=0.0)
    return EngineState(
        incarnation=int(started * 1e9),
        service=None,
        capacity_kv_tokens=Tokens(sum(capacities.values())),
        free_kv_tokens=Tokens(sum(int(tokens * (1.0 - usages[rank])) for rank, tokens in capacities.items())),
        max_num_seqs=ASSUMED_MAX_NUM_SEQS * len(capacities),
        num_running=total(_RUNNING),
        num_waiting=total(_WAITING),
        waiting_calls=None,
        preemptions=total(_PREEMPTIONS),
    )


def _wanted_lines(text: str) -> Iterator[str]:
    """The parser is slow and vLLM's text is long, mostly histograms: keep the six families that are read."""
    for line in text.splitlines():
        name = line[7:] if line.startswith("# TYPE ") else line
        if name.partition(" ")[0].partition("{")[0] in _WANTED:
            yield line


def _capacity(config: Sample) -> int:
    """KV tokens of one rank; one of its blocks is the null block, which holds nothing."""
    return (int(config.labels["num_gpu_blocks"]) - 1) * int(config.labels["block_size"])
