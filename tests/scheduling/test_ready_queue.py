from hypothesis import given
from hypothesis import strategies as st

from gateway.fairness.units import ApplicationId
from gateway.scheduling.ready_queue import ReadyQueue


def drained(queue: ReadyQueue) -> list[str]:
    order = []
    while (first := queue.first()) is not None:
        order.append(first[0])
        queue.remove(first[0])
    return order


def test_in_order_of_rank_then_application_then_arrival() -> None:
    queue = ReadyQueue()
    for call_id, application, rank in (("1", "b", 2.0), ("2", "a", 2.0), ("3", "a", 1.0), ("4", "a", 2.0)):
        queue.push(call_id, ApplicationId(application), rank)
    assert "1" in queue
    assert drained(queue) == ["3", "2", "4", "1"]
    assert (queue.first(), len(queue)) == (None, 0)


def test_a_call_that_is_reranked_and_back_keeps_its_place_among_equals() -> None:
    queue = ReadyQueue()
    for call_id in "123":
        queue.push(call_id, ApplicationId("a"), 5.0)
    queue.rerank("1", 9.0)
    assert queue.first() == ("2", 5.0)
    queue.rerank("1", 5.0)
    assert drained(queue) == ["1", "2", "3"]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=60))
def test_like_sorting_what_is_there(ranks: list[tuple[int, int]]) -> None:
    queue = ReadyQueue()
    for i, (first, _) in enumerate(ranks):
        queue.push(str(i), ApplicationId("a"), float(first))
    for i, (_, second) in enumerate(ranks):
        queue.rerank(str(i), float(second))
    assert drained(queue) == [str(i) for i in sorted(range(len(ranks)), key=lambda i: (ranks[i][1], i))]


def test_reranking_for_ever_does_not_grow_the_heap() -> None:
    queue = ReadyQueue()
    queue.push("1", ApplicationId("a"), 0.0)
    for i in range(1000):
        queue.rerank("1", float(i % 7))
    assert len(queue._heap) < 100
    assert queue.first() == ("1", float(999 % 7))
