"""docs/algorithm.md tells the truth: its example is replayed, its table of policies is complete."""

from pathlib import Path

from gateway.fairness import POLICY_NAMES, UNIT_WEIGHT, ApplicationId, KvTokenTime, VirtualClock, VirtualTime, Weight

DOCUMENT = Path(__file__).parents[2] / "docs" / "algorithm.md"

Row = dict[str, str]


def table(heading: str) -> list[Row]:
    """The first table below a heading, a dict for each row."""
    section = DOCUMENT.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [dict(zip(head, row, strict=True)) for row in rows]


def replay(clock: VirtualClock, row: Row) -> None:
    application_id, cost = ApplicationId(row["application"]), KvTokenTime(float(row["cost"] or "nan"))
    match row["event"]:
        case "arrive":
            clock.arrive(application_id, cost, Weight(int(row["weight"])))
        case "serve":
            clock.serve(KvTokenTime(float(row["service"])))
        case "revise":
            clock.revise(application_id, cost)
        case "close":
            answer = clock.close(application_id, cost if row["cost"] else None)
            assert answer == float(row["F"])
        case "restore":
            clock.restore(VirtualTime(float(row["V"])))
        case other:
            raise AssertionError(f"the table has an event {other!r}")


def test_the_worked_example() -> None:
    rows, clock = table("Worked example"), VirtualClock()
    assert [row["#"] for row in rows] == [str(number) for number in range(1, 17)]
    assert {row["event"] for row in rows} == {"arrive", "serve", "revise", "close", "restore"}
    for row in rows:
        replay(clock, row)
        assert clock.virtual_time == float(row["V"]), row
        assert clock.backlogged() == row["backlogged"].split(), row
        if row["F"] and row["event"] != "close":
            assert clock.finish_time(ApplicationId(row["application"])) == float(row["F"]), row


def test_the_table_of_policies_has_each_of_them_once() -> None:
    assert [row["policy"].strip("`") for row in table("Policies")] == list(POLICY_NAMES)


def test_four_of_one_size_as_in_the_text() -> None:
    """The order of F is the order of ids here, each alone on the server: 100, 200, 300, 400 against 400 for all."""
    clock = VirtualClock()
    for name in "abcd":
        clock.arrive(ApplicationId(name), KvTokenTime(100.0), UNIT_WEIGHT)
    assert clock.backlogged() == list("abcd")
    clock.serve(KvTokenTime(399.0))
    assert clock.backlogged() == list("abcd")
    clock.serve(KvTokenTime(1.0))
    assert clock.backlogged() == []
