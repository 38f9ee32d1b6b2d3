from gateway.fairness.units import KvTokenTime, Tokens
from gateway.scheduling.model import Outcome, Usage
from gateway.scheduling.tenant_usage import DAY_S, HOUR_S, UsageBook, UsageTotals

NOON = 1000.0 * DAY_S + DAY_S / 2


def totals(calls: dict[Outcome, int], prompt: int, completion: int, service: float) -> UsageTotals:
    return UsageTotals(calls, Tokens(prompt), Tokens(completion), KvTokenTime(service))


def test_calls_by_outcome_tokens_and_kv_token_time_by_hour_and_day() -> None:
    book = UsageBook()
    book.call_ended("t", Outcome.COMPLETED, Usage(Tokens(100), Tokens(10)), NOON)
    book.served("t", KvTokenTime(5000.0), NOON + 1)
    book.call_ended("t", Outcome.CANCELLED, None, NOON + HOUR_S)
    book.call_ended("t", Outcome.COMPLETED, Usage(Tokens(7), Tokens(3)), NOON + HOUR_S)
    book.call_ended("u", Outcome.REJECTED, None, NOON)
    read = book.read("t", NOON + HOUR_S + 1)
    assert (read.tenant, read.since) == ("t", NOON)
    assert read.total == totals({Outcome.COMPLETED: 2, Outcome.CANCELLED: 1}, 107, 13, 5000.0)
    assert read.today == read.total
    assert read.this_hour == totals({Outcome.CANCELLED: 1, Outcome.COMPLETED: 1}, 7, 3, 0.0)
    tomorrow = book.read("t", NOON + DAY_S)
    assert tomorrow.total == read.total
    assert tomorrow.today == tomorrow.this_hour == totals({}, 0, 0, 0.0)


def test_nothing_is_known_of_one_that_never_came() -> None:
    book = UsageBook()
    read = book.read("t", NOON)
    assert read.total == read.today == read.this_hour == totals({}, 0, 0, 0.0)
    assert len(book) == 0  # asking is free


def test_the_least_lately_used_is_forgotten() -> None:
    book = UsageBook(max_tenants=2)
    for tenant in ("a", "b", "a", "c"):
        book.call_ended(tenant, Outcome.COMPLETED, None, NOON)
    assert len(book) == 2
    assert [sum(book.read(tenant, NOON).total.calls.values()) for tenant in "abc"] == [2, 0, 1]
