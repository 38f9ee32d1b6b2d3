import pytest

from engine_patch.records import FinishedRecord, FinishedRing


def _ring(num_records: int, max_held: int = 10, max_per_reply: int = 4) -> FinishedRing:
    ring = FinishedRing(max_held, max_per_reply)
    for number in range(num_records):
        ring.append(FinishedRecord(ring.end, f"call-{number}", "a", float(number), 1, 0, 1, 0, "stop"))
    return ring


@pytest.mark.parametrize(
    ("since", "expected", "following"),
    [
        (0, [3, 4, 5, 6], 7),  # fell behind: the oldest still held
        (3, [3, 4, 5, 6], 7),
        (10, [10, 11, 12], 13),
        (13, [], 13),
        (99, [], 13),  # knows an earlier, longer incarnation
    ],
)
def test_a_reader_gets_the_records_from_its_number_on(since: int, expected: list[int], following: int) -> None:
    records, next_sequence = _ring(13).since(since)
    assert [record["sequence"] for record in records] == expected
    assert next_sequence == following


def test_reading_on_and_on_misses_nothing() -> None:
    ring = _ring(10)
    seen, since = [], 0
    while True:
        records, since = ring.since(since)
        if not records:
            break
        seen += [record["call_id"] for record in records]
    assert seen == [f"call-{number}" for number in range(10)]


def test_first_tells_what_was_lost() -> None:
    assert _ring(0).first == 0
    assert _ring(10).first == 0
    assert _ring(25).first == 15
