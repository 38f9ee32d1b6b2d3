"""What `justitia top` shows, as lines of text: from an answer of `GET /v1/overview` and the size of the terminal. Pure.

Names come from clients and the answer from a network: nothing of them that is not printable reaches the terminal, and
what is wide counts as wide.
"""

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Answer = Mapping[str, Any]
"""An `OverviewAnswer`, as JSON."""

_STEPS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))

_HOLDS = {
    "order": "waits its turn",
    "tenant_cap": "tenant's cap",
    "quota": "quota spent",
    "no_engine": "no engine",
    "capacity": "no room yet",
}

_WIDEST = 200
"""Wider lines are hard to follow."""


@dataclass(frozen=True, slots=True)
class Style:
    """Escape sequences around text, or none at all."""

    bold: str = ""
    quiet: str = ""
    accent: str = ""
    bad: str = ""
    chosen: str = ""
    end: str = ""


PLAIN = Style()
COLOURED = Style("\x1b[1m", "\x1b[2m", "\x1b[36m", "\x1b[31m", "\x1b[7m", "\x1b[0m")


# --- figures --------------------------------------------------------------------------------------------------------


def amount(value: float) -> str:
    """Three digits and k, M, G …"""
    for step, letter in _STEPS:
        if abs(value) >= step * 0.9995:
            return _digits(value / step) + letter
    return f"{value:.0f}" if value == 0 or abs(value) >= 10 else _digits(value)


def _digits(value: float) -> str:
    text = f"{value:.{0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2}f}"
    return text.removesuffix(".00").removesuffix(".0")


def seconds(value: float) -> str:
    if value < 99.5:
        return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"
    if value < 99.5 * 60:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.0f} h" if value < 100 * 3600 else f"{value / 86400:.0f} days"


def bar(share: float, width: int) -> str:
    filled = round(min(1.0, max(0.0, share)) * width)
    return "█" * filled + "░" * (width - filled)


def printable(text: object) -> str:
    """No control character, no escape, nothing that turns the line around."""
    return "".join(character if character.isprintable() else "�" for character in str(text))


def fitted(text: str, width: int, *, right: bool = False) -> str:
    """Exactly `width` columns of a terminal."""
    cells = 0
    for index, character in enumerate(text):
        cells += _cells(character)
        if cells > width:
            return fitted(_cut(text[:index], max(0, width - 1)) + "…", width) if width else ""
    padding = " " * (width - cells)
    return padding + text if right else text + padding


def _cut(text: str, width: int) -> str:
    while text and sum(map(_cells, text)) > width:
        text = text[:-1]
    return text


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


# --- the screen -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    width: int
    text: Callable[[Answer, Answer], str]
    """Of (a row, the answer)."""
    right: bool = False
    spared: int = 0
    """Where there is no room for all, those with the largest go first; 0 stays."""


def _name(row: Answer, answer: Answer) -> str:
    name = printable(row["id"])
    return (
        name if answer["tenant"] is not None or row["tenant"] == "anonymous" else f"{printable(row['tenant'])}/{name}"
    )


def _progress(row: Answer, _: Answer) -> str:
    share = _share(row["service"], row["predicted_cost"])
    return f"{bar(share, 10)} {share:>4.0%} of {amount(row['predicted_cost'])}"


def _state(row: Answer, _: Answer) -> str:
    if row["hold"] != "nothing":
        wait = row["expected_wait_s"]
        return _HOLDS.get(row["hold"], printable(row["hold"])) + (f" ~{seconds(wait)}" if wait is not None else "")
    if not row["calls_running"]:
        return "between calls"
    return "waits inside" if row["calls_running"] == row["calls_waiting_inside"] else "runs"


def _done(row: Answer, _: Answer) -> str:
    if row["service"] >= row["predicted_cost"]:
        return "late"
    return "–" if row["expected_finish_s"] is None else seconds(row["expected_finish_s"])


COLUMNS = (
    Column("#", 5, lambda row, _: str(row["position"]), right=True),
    Column("APPLICATION", 0, _name),
    Column("KIND", 16, lambda row, _: printable(row["kind"]), spared=5),
    Column("SERVICE", 25, _progress, spared=2),
    Column("FINISH", 8, lambda row, _: amount(row["virtual_finish_time"]), right=True, spared=4),
    Column("RUN", 4, lambda row, _: str(row["calls_running"] or "·"), right=True),
    Column("WAIT", 5, lambda row, _: str(row["calls_waiting"] or "·"), right=True),
    Column("STATE", 22, _state, spared=1),
    Column("DONE IN", 8, _done, right=True, spared=3),
)
"""The application's name has what the others leave."""

_LEAST_NAME = 16


def screen(
    answer: Answer, *, width: int, height: int | None, style: Style = PLAIN, chosen: str | None = None
) -> list[str]:
    """Lines, each at most `width` columns; `height` None: as many as there is to say. `chosen`: `tenant/id`."""
    width = min(width, _WIDEST)
    head = [*_sums(answer, width, style), "", *_engines(answer, width, style), ""]
    why = ["", *_why(answer, width, style)] if chosen is not None else []
    room = None if height is None else max(1, height - len(head) - len(why) - 2)
    lines = [*head, *_table(answer, width, room, style, chosen), *why]
    return lines if height is None else lines[:height]


def _sums(answer: Answer, width: int, style: Style) -> Iterator[str]:
    seen = {"operator": "seen as the operator", "this_machine": "open"}.get(answer["seen_by"])
    about = f"{printable(answer['version'])} · policy {printable(answer['policy'])}"
    about += f" · {seen or 'seen as tenant ' + printable(answer['tenant'])}"
    yield f"{style.bold}{_cut('Justitia ', width)}{style.end}{style.quiet}{_cut(about, width - 9)}{style.end}"
    is_up = answer["store"] == "up"
    num = f"{answer['num_applications']}{'+' if answer['is_cut'] else ''}"
    sums = (
        f"{num} applications · {answer['calls_waiting']} calls waiting · {answer['calls_running']} running"
        f" · {amount(answer['service_rate'])} token·it/s"
        f" · virtual time {amount(answer['virtual_time'])} · store {answer['store']}"
    )
    yield f"{'' if is_up else style.bad}{_cut(printable(sums), width)}{'' if is_up else style.end}"


def _engines(answer: Answer, width: int, style: Style) -> Iterator[str]:
    name_width = min(40, max((len(printable(engine["name"])) for engine in answer["engines"]), default=0))
    for engine in answer["engines"]:
        name = _cut(fitted(printable(engine["name"]), name_width) + "  ", width)
        if engine["mode"] == "down":
            yield f"{name}{style.bad}{_cut('does not answer', width - name_width - 2)}{style.end}"
            continue
        share = _share(engine["kv_used_tokens"], engine["kv_capacity_tokens"])
        said = (
            f"{share:>4.0%} of {amount(engine['kv_capacity_tokens'] or 0)} KV tokens · "
            f"{engine['num_running'] or 0} running, {engine['num_waiting'] or 0} waiting inside · "
            f"{amount(engine['service_rate'])}/s · {printable(engine['mode'])}"
        )
        drawn = _cut(bar(share, 20) + " ", width - name_width - 2)
        yield f"{name}{style.accent}{drawn}{style.end}{_cut(said, width - name_width - 23)}"


def _table(answer: Answer, width: int, room: int | None, style: Style, chosen: str | None) -> Iterator[str]:
    columns = list(COLUMNS)
    while _taken(columns) + _LEAST_NAME > width and (first := max(columns, key=lambda one: one.spared)).spared:
        columns.remove(first)
    name_width = max(_LEAST_NAME, width - _taken(columns))
    widths = [column.width or name_width for column in columns]

    def line(cells: Sequence[str]) -> str:
        fit = [
            fitted(cell, size, right=column.right) for cell, size, column in zip(cells, widths, columns, strict=True)
        ]
        return _cut("  ".join(fit), width)

    yield f"{style.quiet}{line([column.title for column in columns])}{style.end}"
    rows = answer["applications"]
    shown = rows[:room]
    for row in shown:
        text = line([column.text(row, answer) for column in columns])
        is_chosen = chosen == f"{row['tenant']}/{row['id']}"
        yield f"{style.chosen}{text}{style.end}" if is_chosen else text
    hidden = answer["num_matching"] - len(shown)
    others = answer["num_applications"] - answer["num_own"]
    if hidden > 0:
        yield f"{style.quiet}{_cut(f'and {hidden} more', width)}{style.end}"
    elif others:
        said = f"and {others} application{'' if others == 1 else 's'} of others"
        yield f"{style.quiet}{_cut(said, width)}{style.end}"
    elif not rows:
        yield f"{style.quiet}{_cut('no application is open', width)}{style.end}"


def _taken(columns: Sequence[Column]) -> int:
    """All but the name."""
    return sum(column.width for column in columns) + 2 * (len(columns) - 1)


def _why(answer: Answer, width: int, style: Style) -> Iterator[str]:
    chosen = answer["chosen"]
    if chosen is None:
        yield _cut("It is not among the open applications.", width)
        return
    row = chosen["application"]
    yield f"{style.bold}{_cut(f'{_name(row, answer)}: {reason(chosen)}', width)}{style.end}"
    ahead = [
        f"{one['position']} {_name(one, answer)} ({amount(one['remaining_cost'])} left)" for one in chosen["ahead"]
    ]
    others = chosen["num_ahead_of_others"]
    said = [f"place {row['position']}", f"{amount(chosen['work_ahead'])} of work before it"]
    if others:
        said.append(f"{others} application{'s' if others > 1 else ''} of others ahead")
    yield _cut(" · ".join(said), width)
    if ahead:
        yield _cut("nearest ahead: " + ", ".join(reversed(ahead)), width)


def reason(chosen: Answer) -> str:
    """Why it waits, in a sentence."""
    row, limits = chosen["application"], chosen["limits"]
    match row["hold"]:
        case "order":
            return f"waits for its turn, {chosen['calls_ahead']} waiting calls rank before its own"
        case "tenant_cap":
            return f"held by its tenant's cap, {limits['running_calls']} of {limits['max_running_calls']} calls run"
        case "quota":
            return f"its tenant's quota is used up, new calls are refused for {seconds(limits['quota_wait_s'])}"
        case "no_engine":
            return "no engine that is up serves its model"
        case "capacity":
            return "is next, and no engine has room yet"
    return _state(row, chosen)


def _share(part: float | None, whole: float | None) -> float:
    return part / whole if part is not None and whole else 0.0
