import pytest

from gateway.engines.stock import ASSUMED_MAX_NUM_SEQS, read_stock_state
from gateway.errors import EngineUnreachable
from tests.fakes.engine import STOCK_METRICS


def test_the_load_is_read_from_the_metrics() -> None:
    state = read_stock_state(STOCK_METRICS, "e")

    assert state.capacity_kv_tokens == 256 * 16  # one of 257 blocks is the null block
    assert state.free_kv_tokens == 192 * 16
    assert (state.num_running, state.num_waiting, state.preemptions) == (3, 2, 5)
    assert state.max_num_seqs == ASSUMED_MAX_NUM_SEQS
    assert state.incarnation == 1_790_000_000 * 10**9
    assert (state.service, state.waiting_calls, state.finished) == (None, None, ())


def test_ranks_of_a_data_parallel_engine_are_added_up() -> None:
    second = [line.replace('engine="0"', 'engine="1"') for line in STOCK_METRICS.splitlines() if 'engine="0"' in line]
    second = [line.replace("} 0.25", "} 0.5") for line in second]

    state = read_stock_state(STOCK_METRICS + "\n".join(second) + "\n", "e")

    assert state.capacity_kv_tokens == 2 * 256 * 16
    assert state.free_kv_tokens == (192 + 128) * 16
    assert (state.num_running, state.num_waiting) == (6, 4)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>not metrics</html>",
        STOCK_METRICS.replace('num_gpu_blocks="257"', 'num_gpu_blocks="None"'),  # not measured yet
        STOCK_METRICS.replace("vllm:kv_cache_usage_perc{", "vllm:other{"),
        STOCK_METRICS.replace("} 0.25", "} a quarter"),
    ],
)
def test_what_tells_no_load_is_an_unreachable_engine(text: str) -> None:
    with pytest.raises(EngineUnreachable, match="engine e"):
        read_stock_state(text, "e")
