from gateway.fairness.units import KvTokenTime, Tokens
from gateway.scheduling.model import Outcome, Usage
from gateway.scheduling.tenant_usage import ApplicationUsage, UsageBook, UsageTotals
from gateway.usage_sums import DAY_S, HOUR_S, MAX_APPLICATIONS, Used, UsedOverall

NOON = 1000.0 * DAY_S + DAY_S / 2


def totals(calls: dict[Outcome, int], prompt: int, completion: int, service: float) -> UsageTotals:
    return UsageTotals(calls, Tokens(prompt), Tokens(completion), KvTokenTime(service))


def test_calls_by_outcome_tokens_and_kv_token_time_by_hour_and_day() -> None:
    book = UsageBook()
    book.call_ended("t", Outcome.COMPLETED, Usage(Tokens(100), Tokens(10)), NOON)
    book.served("t", "app", KvTokenTime(5000.0), NOON + 1, is_last=True)
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


def serve(book: UsageBook, application: str, service: float, *, is_last: bool = True, tenant: str = "t") -> None:
    book.served(tenant, application, KvTokenTime(service), NOON, is_last=is_last)


def used(calls: int, service: float) -> ApplicationUsage:
    return ApplicationUsage(calls, KvTokenTime(service))


def test_applications_by_settled_calls() -> None:
    book = UsageBook()
    serve(book, "a", 100.0, is_last=False)
    serve(book, "a", 0.0)
    serve(book, "b", 7.0)
    assert book.read("t", NOON).applications == {"a": used(1, 100.0), "b": used(1, 7.0)}
    assert book.read("t", NOON).total.kv_token_time == 107.0
    assert book.read("u", NOON).applications == {}


def test_the_least_lately_used_application_is_forgotten_and_its_use_is_not() -> None:
    book = UsageBook()
    for number in range(MAX_APPLICATIONS):
        serve(book, f"a{number}", 1.0)
    serve(book, "a0", 1.0)
    serve(book, "more", 1.0)
    read = book.read("t", NOON)
    assert len(read.applications) == MAX_APPLICATIONS
    assert "a1" not in read.applications
    assert read.applications["a0"] == used(2, 2.0)
    assert read.total.kv_token_time == MAX_APPLICATIONS + 2


def test_news_is_told_once_and_only_where_somebody_wants_to_know() -> None:
    book = UsageBook()
    serve(book, "a", 5.0)
    assert book.news() == {}
    book.keep_news()
    book.call_ended("t", Outcome.COMPLETED, Usage(Tokens(3), Tokens(2)), NOON)
    serve(book, "a", 7.0)
    assert book.news() == {
        "t": Used(
            {"calls.completed": 1.0, "prompt_tokens": 3, "completion_tokens": 2, "kv_token_time": 7.0},
            {"a": {"calls": 1.0, "kv_token_time": 7.0}},
        )
    }
    assert book.news() == {}
    assert book.read("t", NOON).total.kv_token_time == 12.0


def test_news_of_no_more_tenants_than_are_remembered() -> None:
    book = UsageBook(max_tenants=2)
    book.keep_news()
    for tenant in "abc":
        serve(book, "a", 1.0, tenant=tenant)
    assert set(book.news()) == {"b", "c"}


def test_what_all_have_told_and_what_is_news_here() -> None:
    overall = UsedOverall(
        NOON - 5,
        total={"calls.completed": 4, "kv_token_time": 100.0, "unknown": 1.0},
        today={"calls.completed": 3},
        applications={"a": {"calls": 4, "kv_token_time": 100.0}},
    )
    book = UsageBook()
    without_news = book.read_with(overall, "t", NOON)
    assert (without_news.since, without_news.is_of_all_gateways) == (NOON - 5, True)
    assert without_news.total == totals({Outcome.COMPLETED: 4}, 0, 0, 100.0)
    book.keep_news()
    book.call_ended("t", Outcome.FAILED, Usage(Tokens(3), Tokens(2)), NOON)
    serve(book, "a", 1.0)
    serve(book, "b", 2.0)
    read = book.read_with(overall, "t", NOON)
    assert read.total == totals({Outcome.COMPLETED: 4, Outcome.FAILED: 1}, 3, 2, 103.0)
    assert read.today == totals({Outcome.COMPLETED: 3, Outcome.FAILED: 1}, 3, 2, 3.0)
    assert read.this_hour == totals({Outcome.FAILED: 1}, 3, 2, 3.0)
    assert read.applications == {"a": used(5, 101.0), "b": used(1, 2.0)}
    assert book.read_with(UsedOverall(None), "u", NOON).since == NOON
