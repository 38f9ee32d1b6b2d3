// A card for every engine: how full its memory is, how that came, and who is in it.

import { nameOf } from "./holds.js";
import { arrange, describe, drawing, make, mark, say, setBar } from "./page.js";
import { amount, count, percent } from "./units.js";

const SHOWN_S = 120;
const WIDTH = 240;
const HEIGHT = 44;
const GAP_S = 6; // Longer than this between two readings, and nothing is drawn in between.
const NAMED = 8;

const cards = new Map();

export function showEngines(list, answer, now, choose) {
  for (const name of cards.keys()) if (!answer.engines.some((engine) => engine.name === name)) cards.delete(name);
  arrange(list, answer.engines.map((engine) => {
    if (!cards.has(engine.name)) cards.set(engine.name, new Card(engine.name, choose));
    const card = cards.get(engine.name);
    card.show(engine, answer, now);
    return card.element;
  }));
}

class Card {
  constructor(name, choose) {
    this.choose = choose;
    this.history = [];
    this.parts = new Map();
    this.mode = make("span", "badge");
    this.memory = make("span", "memory");
    this.fill = make("span", "fill");
    this.area = drawing("path", { class: "area" });
    this.line = drawing("path", { class: "line" });
    this.chart = drawing("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }, this.area, this.line);
    this.numbers = make("p", "quiet");
    this.runs = make("ul", "inside");
    const title = make("h3", "", name);
    const head = make("div", "bar", title, this.mode);
    const bar = make("div", "progress", this.fill);
    bar.setAttribute("aria-hidden", "true");
    this.element = make("li", "card", head, make("p", "", this.memory), bar, this.chart, this.numbers, this.runs);
  }

  show(engine, answer, now) {
    const isDown = engine.mode === "down";
    mark(this.element, "is-down", isDown);
    say(this.mode, isDown ? "does not answer" : engine.mode);
    const share = engine.kv_capacity_tokens ? engine.kv_used_tokens / engine.kv_capacity_tokens : null;
    this.remember(now, share);
    setBar(this.fill, share ?? 0);
    say(this.memory, share === null
      ? "KV memory unknown"
      : `KV memory ${percent(share)} · ${amount(engine.kv_used_tokens)} of ${amount(engine.kv_capacity_tokens)} tokens`);
    describe(this.chart, "aria-label", share === null ? "No reading of its memory" : `KV memory in use over the last two minutes, now ${percent(share)}`);
    say(this.numbers, isDown ? "Its calls wait for it to come back, or go elsewhere." : numbers(engine));
    this.showRuns(engine, answer);
  }

  remember(now, share) {
    this.history.push([now, share]);
    while (this.history[0][0] < now - SHOWN_S - 2) this.history.shift();
    const { line, area } = paths(this.history, now);
    describe(this.line, "d", line);
    describe(this.area, "d", area);
  }

  showRuns(engine, answer) {
    const seesAll = answer.tenant === null;
    const wanted = engine.runs.slice(0, NAMED);
    const seen = new Set();
    const items = wanted.map((run) => {
      const key = `${run.tenant}/${run.id}`;
      seen.add(key);
      if (!this.parts.has(key)) this.parts.set(key, this.part(key, nameOf(run, answer)));
      const part = this.parts.get(key);
      const waiting = run.waiting ? `, ${run.waiting} waiting inside` : "";
      say(part.calls, run.calls === 1 && !waiting ? "" : ` ×${run.calls}${waiting}`);
      return part.element;
    });
    for (const key of this.parts.keys()) if (!seen.has(key)) this.parts.delete(key);
    const hidden = engine.runs.slice(NAMED).reduce((sum, run) => sum + run.calls, 0);
    const rest = hidden + engine.other_calls;
    const whose = seesAll || hidden ? "" : " of others";
    if (rest) items.push(make("li", "quiet", `${wanted.length ? "and " : ""}${count(rest, whose ? "call" : "more call")}${whose}`));
    if (!items.length && engine.mode !== "down") items.push(make("li", "quiet", "nothing of this gateway runs here"));
    arrange(this.runs, items);
  }

  part(key, name) {
    const button = make("button", "chip", name);
    button.type = "button";
    button.addEventListener("click", () => this.choose(key));
    const calls = make("span", "quiet");
    return { element: make("li", "", button, calls), calls };
  }
}

function numbers(engine) {
  const parts = [];
  if (engine.num_running !== null) parts.push(`${engine.num_running} of ${engine.max_running_calls} running`, `${engine.num_waiting} waiting inside`);
  parts.push(`${amount(engine.service_rate)} token·it/s`);
  if (engine.preemptions) parts.push(count(engine.preemptions, "preemption"));
  return parts.join(" · ");
}

function paths(history, now) {
  let line = "";
  let area = "";
  let began = null;
  let last = null;
  for (const [at, share] of history) {
    const x = (WIDTH * (1 - (now - at) / SHOWN_S)).toFixed(1);
    const isBroken = last === null || share === null || at - last.at > GAP_S;
    if (isBroken && began !== null) {
      area += `L${last.x},${HEIGHT}Z`;
      began = null;
    }
    if (share === null) {
      last = null;
      continue;
    }
    const y = (HEIGHT - 1 - share * (HEIGHT - 2)).toFixed(1);
    line += `${began === null ? "M" : "L"}${x},${y}`;
    area += began === null ? `M${x},${HEIGHT}L${x},${y}` : `L${x},${y}`;
    began ??= x;
    last = { at, x };
  }
  if (began !== null) area += `L${last.x},${HEIGHT}Z`;
  return { line, area };
}
