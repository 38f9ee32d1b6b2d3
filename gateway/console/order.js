// The table: a row for every application, kept over readings so that focus and bars stay where they are.

import { arrange, describe, make, mark, say, setBar } from "./page.js";
import { engines, held, isLate } from "./holds.js";
import { amount, count, percent, time } from "./units.js";

const rows = new Map();
let reached = null; // The row that Tab comes to.

export const keyOf = (row) => `${row.tenant}/${row.id}`;

/** `why`: the row that tells more of the chosen one; it stands at the top if that one is not listed. */
export function showOrder(body, answer, chosen, why, choose) {
  const seesAll = answer.tenant === null;
  const seen = new Set();
  const children = [];
  let last = 0;
  for (const row of answer.applications) {
    const key = keyOf(row);
    seen.add(key);
    if (!rows.has(key)) rows.set(key, new Row(key, choose));
    const shown = rows.get(key);
    shown.show(row, answer, key === chosen);
    // Only where nothing was filtered out are gaps in the positions somebody else's.
    if (!seesAll && answer.num_matching === answer.num_own && row.position > last + 1) {
      children.push(others(row.position - last - 1));
    }
    last = row.position;
    children.push(shown.element);
    if (key === chosen) children.push(why);
  }
  if (chosen !== null && !seen.has(chosen)) children.unshift(why);
  for (const key of rows.keys()) if (!seen.has(key)) rows.delete(key);
  arrange(body, children);
  reach(rows.has(reached) ? reached : rows.has(chosen) ? chosen : rows.keys().next().value);
}

/** Up, Down, Home and End go from row to row. */
export function walk(body, event) {
  const buttons = [...body.querySelectorAll("button.name")];
  const at = buttons.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (at < 0 || to === undefined) return;
  event.preventDefault();
  const next = buttons[Math.min(buttons.length - 1, Math.max(0, to))];
  reach(next.dataset.key);
  next.focus();
}

export function focusRow(key) {
  rows.get(key)?.name.focus();
}

function reach(key) {
  reached = key;
  for (const [other, row] of rows) row.name.tabIndex = other === key ? 0 : -1;
}

function others(number) {
  const cell = make("td", "others", `${count(number, "application")} of others`);
  cell.setAttribute("role", "cell");
  cell.colSpan = 7;
  const line = make("tr", "gap", cell);
  line.setAttribute("role", "row");
  return line;
}

class Row {
  constructor(key, choose) {
    this.position = make("span");
    this.name = make("button", "name");
    this.name.type = "button";
    this.name.dataset.key = key;
    this.name.setAttribute("aria-controls", "why");
    this.kind = make("span", "quiet kind");
    this.fill = make("span", "fill");
    this.service = make("span", "quiet");
    this.finish = make("span");
    this.distance = make("span", "quiet");
    this.calls = make("span");
    this.on = make("span", "quiet");
    this.hold = make("span", "hold");
    this.wait = make("span", "quiet");
    this.done = make("span");
    const bar = make("div", "progress", this.fill);
    bar.setAttribute("aria-hidden", "true");
    const cells = [
      cell("td", "number position", this.position),
      cell("th", "application", this.name, this.kind),
      cell("td", "served", bar, this.service),
      cell("td", "number finish", this.finish, this.distance),
      cell("td", "calls", this.calls, this.on),
      cell("td", "held", this.hold, this.wait),
      cell("td", "number done", this.done),
    ];
    this.element = make("tr", "", ...cells);
    this.element.setAttribute("role", "row");
    this.element.addEventListener("click", () => {
      reach(key);
      choose(key);
    });
  }

  show(row, answer, isChosen) {
    say(this.position, String(row.position));
    say(this.name, row.id);
    say(this.kind, [answer.tenant === null && row.tenant !== "anonymous" ? row.tenant : "", row.kind === "default" ? "" : row.kind, row.weight === 1000 ? "" : `weight ${row.weight / 1000}`].filter(Boolean).join(" · "));
    const share = row.predicted_cost > 0 ? row.service / row.predicted_cost : 0;
    setBar(this.fill, share);
    mark(this.element, "is-over", share > 1);
    say(this.service, `${amount(row.service)} of ${amount(row.predicted_cost)} · ${percent(share)}`);
    const left = row.virtual_finish_time - answer.virtual_time;
    say(this.finish, amount(row.virtual_finish_time));
    say(this.distance, left > 0 ? `in ${amount(left)}` : "past");
    say(this.calls, calls(row));
    say(this.on, row.calls_running ? `on ${engines(row)}` : "");
    say(this.hold, held(row));
    say(this.wait, row.expected_wait_s === null ? "" : `about ${time(row.expected_wait_s)}`);
    say(this.done, isLate(row) ? "late" : row.expected_finish_s === null ? "–" : time(row.expected_finish_s));
    mark(this.element, "runs", row.calls_running > 0);
    mark(this.element, "waits", row.calls_waiting > 0);
    mark(this.element, "is-chosen", isChosen);
    describe(this.name, "aria-expanded", String(isChosen));
  }
}

function cell(tag, className, ...children) {
  const element = make(tag, className, ...children);
  element.setAttribute("role", tag === "th" ? "rowheader" : "cell");
  if (tag === "th") element.scope = "row";
  return element;
}

function calls(row) {
  const parts = [];
  const running = row.calls_running - row.calls_waiting_inside;
  if (running) parts.push(`${running} running`);
  if (row.calls_waiting_inside) parts.push(`${row.calls_waiting_inside} queued`);
  if (row.calls_waiting) parts.push(`${row.calls_waiting} waiting`);
  return parts.join(", ") || "–";
}
