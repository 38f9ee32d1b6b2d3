// Why the chosen application waits.

import { arrange, make, mark, say } from "./page.js";
import { isLate, nameOf, reason } from "./holds.js";
import { amount, count, percent, time } from "./units.js";

const parts = {};
const facts = new Map();
const ahead = new Map();

/** A row of its own, to stand under the application's. */
export function buildWhy(close) {
  parts.title = make("h3", "");
  parts.title.id = "why-title";
  parts.kind = make("p", "quiet");
  parts.close = make("button", "plain", "Close");
  parts.close.type = "button";
  parts.close.addEventListener("click", close);
  parts.reason = make("p", "reason");
  parts.more = make("p", "");
  parts.facts = make("dl", "facts");
  parts.aheadTitle = make("h4", "", "Ahead of it");
  parts.aheadNote = make("p", "quiet");
  parts.ahead = make("ol", "ahead");
  const head = make("div", "bar", make("div", "", parts.title, parts.kind), parts.close);
  const said = make("div", "said", parts.reason, parts.more, parts.facts);
  parts.before = make("div", "before", parts.aheadTitle, parts.aheadNote, parts.ahead);
  const section = make("section", "why", head, make("div", "two", said, parts.before));
  section.id = "why";
  section.setAttribute("aria-labelledby", "why-title");
  const cell = make("td", "", section);
  cell.setAttribute("role", "cell");
  cell.colSpan = 7;
  const row = make("tr", "why-row", cell);
  row.setAttribute("role", "row");
  return row;
}

/** The reason in a sentence, for who listens. */
export function showWhy(answer, key, choose) {
  const chosen = answer.chosen;
  say(parts.title, key.slice(key.indexOf("/") + 1));
  mark(parts.facts, "is-gone", chosen === null);
  if (chosen === null) {
    say(parts.kind, "");
    say(parts.reason, "It is not among the open applications.");
    say(parts.more, "It has been closed, or there is none of this name that you may see.");
    arrange(parts.facts, []);
    showAhead([], "", answer, choose);
    return "It is not among the open applications.";
  }
  const row = chosen.application;
  const [sentence, rest] = reason(chosen, answer);
  say(parts.kind, `tenant ${row.tenant} · kind ${row.kind} · weight ${row.weight / 1000}`);
  say(parts.reason, sentence);
  say(parts.more, rest);
  showFacts(factsOf(chosen, answer));
  showAhead(chosen.ahead, aheadNote(chosen), answer, choose);
  return sentence;
}

function factsOf(chosen, answer) {
  const row = chosen.application;
  const share = row.predicted_cost > 0 ? row.service / row.predicted_cost : 0;
  const list = [
    ["Place", `${row.position} of ${answer.num_applications}${answer.is_cut ? " or more" : ""}`],
    ["Expected wait", row.expected_wait_s === null ? (row.calls_waiting ? "not known yet" : "none of its calls waits") : `about ${time(row.expected_wait_s)}`],
    ["Expected finish", isLate(row) ? "it has had more than was predicted" : row.expected_finish_s === null ? "not known yet" : `in about ${time(row.expected_finish_s)}`],
    ["Predicted cost", amount(row.predicted_cost)],
    ["Service so far", `${amount(row.service)} (${percent(share)})`],
    ["Virtual finish", `${amount(row.virtual_finish_time)}, the clock is at ${amount(answer.virtual_time)}`],
    ["Calls", `${row.calls_running} in engines, ${row.calls_waiting} waiting, ${row.calls_ended} ended`],
  ];
  if (chosen.limits.max_running_calls !== null) {
    list.push(["Tenant's cap", `${chosen.limits.running_calls} of ${chosen.limits.max_running_calls} running`]);
  }
  return list;
}

function showFacts(list) {
  arrange(parts.facts, list.map(([name, value]) => {
    if (!facts.has(name)) {
      const dd = make("dd", "");
      facts.set(name, { element: make("div", "", make("dt", "", name), dd), dd });
    }
    say(facts.get(name).dd, value);
    return facts.get(name).element;
  }));
}

function aheadNote(chosen) {
  if (!chosen.num_ahead) return "Nobody: it has the smallest virtual finish time.";
  const named = chosen.ahead.length;
  const others = chosen.num_ahead_of_others;
  const hidden = chosen.num_ahead - others - named;
  const said = [];
  if (others) said.push(`${count(others, "application")} of others ${others === 1 ? "is" : "are"} ahead`);
  if (hidden > 0) said.push(`the nearest ${named} of ${named + hidden} are shown`);
  said.push(`${amount(chosen.work_ahead)} of work before it`);
  return `${said.join("; ")}.`;
}

function showAhead(list, note, answer, choose) {
  parts.before.hidden = !note;
  say(parts.aheadNote, note);
  const seen = new Set();
  arrange(parts.ahead, list.map((one) => {
    const key = `${one.tenant}/${one.id}`;
    seen.add(key);
    if (!ahead.has(key)) ahead.set(key, aheadItem(key, choose));
    const item = ahead.get(key);
    say(item.position, String(one.position));
    say(item.name, nameOf(one, answer));
    say(item.work, `${amount(one.remaining_cost)} left`);
    return item.element;
  }));
  for (const key of ahead.keys()) if (!seen.has(key)) ahead.delete(key);
}

function aheadItem(key, choose) {
  const item = { position: make("span", "quiet place"), name: make("button", "chip"), work: make("span", "quiet") };
  item.name.type = "button";
  item.name.addEventListener("click", () => choose(key));
  item.element = make("li", "", item.position, item.name, item.work);
  return item;
}
