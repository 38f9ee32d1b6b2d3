// Asks the gateway once a second and shows what it says; says so when it says nothing.

import { showEngines } from "./engines.js";
import { focusRow, showOrder, walk } from "./order.js";
import { arrange, byId, make, mark, say } from "./page.js";
import { amount, count } from "./units.js";
import { buildWhy, showWhy } from "./why.js";

const ASK_EVERY_MS = 1000;
const HIDDEN_EVERY_MS = 10000;
const AGAIN_AFTER_MS = [1000, 1000, 2000, 3000, 5000];
const PATIENCE_MS = 5000;
const SILENT_AFTER_S = 3;
const ROWS = 100;
const MAX_ROWS = 500;
const KEY = "justitia-key";

let timer = 0;
let asking = null;

const state = {
  key: sessionStorage.getItem(KEY) ?? "",
  chosen: named(),
  limit: ROWS,
  answer: null,
  answeredAt: null,
  beganAt: seconds(),
  failures: 0,
  trouble: "",
  isSilent: false,
  isRefused: false,
  told: null,
};

/** The application that the address names. */
function named() {
  try {
    return decodeURIComponent(location.hash.slice(1)).slice(0, 256) || null;
  } catch {
    return null;
  }
}

const why = buildWhy(close);

function seconds() {
  return performance.now() / 1000;
}

// --- asking ----------------------------------------------------------------------------------------------------------

function question() {
  const asked = new URLSearchParams({ limit: String(state.limit) });
  const text = byId("filter-text").value.trim();
  if (text) asked.set("text", text);
  if (byId("filter-calls").checked) asked.set("with_calls", "true");
  if (state.chosen) asked.set("application", state.chosen);
  return `v1/overview?${asked}`;
}

async function ask() {
  asking?.abort();
  const own = (asking = new AbortController());
  const patience = setTimeout(() => own.abort("late"), PATIENCE_MS);
  clearTimeout(timer);
  try {
    const headers = state.key ? { authorization: `Bearer ${state.key}` } : {};
    const answer = await fetch(question(), { headers, cache: "no-store", credentials: "omit", signal: own.signal });
    if (answer.status === 401) return refused();
    if (!answer.ok) throw new Error(await complaint(answer));
    const content = await answer.json();
    if (own === asking) answered(content);
  } catch (error) {
    if (own !== asking) return undefined; // another question has taken its place
    failed(error);
  } finally {
    clearTimeout(patience);
    if (own === asking && !state.isRefused) again(); // with a key there will be another question
  }
  return undefined;
}

async function complaint(answer) {
  try {
    return `HTTP ${answer.status}: ${(await answer.json()).error.message}`;
  } catch {
    return `HTTP ${answer.status}`;
  }
}

function again() {
  const late = AGAIN_AFTER_MS[Math.min(state.failures, AGAIN_AFTER_MS.length) - 1];
  timer = setTimeout(ask, state.failures ? late : document.hidden ? HIDDEN_EVERY_MS : ASK_EVERY_MS);
}

function answered(answer) {
  const wasSilent = state.isSilent;
  Object.assign(state, { answer, answeredAt: seconds(), failures: 0, trouble: "", isSilent: false, isRefused: false });
  show();
  showLink();
  if (wasSilent) announce("The gateway answers again.");
}

function failed(error) {
  state.failures += 1;
  state.trouble = error instanceof Error && error.message.startsWith("HTTP") ? error.message : "";
  showLink();
}

function refused() {
  state.isRefused = true;
  state.failures += 1;
  showLink();
  const field = byId("key-why");
  say(field, state.key ? "This key is not known here." : "This gateway wants a key: an API key shows its tenant's applications, the operator's token everybody's.");
  openKeys();
}

// --- showing ---------------------------------------------------------------------------------------------------------

function show() {
  const answer = state.answer;
  say(byId("about"), `${answer.version} · policy ${answer.policy} · ${seenBy(answer)}`);
  showSums(answer);
  showEngines(byId("cards"), answer, seconds(), choose);
  showOrder(byId("rows"), answer, state.chosen, why, choose);
  showNotes(answer);
  if (state.chosen !== null) {
    const sentence = showWhy(answer, state.chosen, choose);
    const told = `${state.chosen} ${sentence}`;
    if (state.told !== told) announce(`${state.chosen.slice(state.chosen.indexOf("/") + 1)}: ${sentence}`);
    state.told = told;
  }
}

function seenBy(answer) {
  if (answer.seen_by === "operator") return "seen as the operator";
  if (answer.seen_by === "this_machine") return "open, seen from this machine";
  return `seen as tenant ${answer.tenant}`;
}

function showSums(answer) {
  const list = [
    ["Applications", amount(answer.num_applications) + (answer.is_cut ? "+" : ""), `${amount(answer.num_backlogged)} backlogged`],
    ["Calls waiting", amount(answer.calls_waiting), "for their turn"],
    ["Calls running", amount(answer.calls_running), "in engines"],
    ["Service", amount(answer.service_rate), "token·iterations a second"],
    ["Virtual time", amount(answer.virtual_time), "token·iterations per weight"],
    ["Store", answer.store, answer.store === "up" ? answer.store_kind === "redis" ? "Redis" : "in this process" : "new applications get a provisional place"],
  ];
  const sums = byId("sums");
  if (!sums.children.length) {
    arrange(sums, list.map(([name]) => make("div", "", make("dt", "", name), make("dd", "", make("b", ""), make("span", "quiet", "")))));
  }
  list.forEach(([, value, unit], index) => {
    const [big, small] = sums.children[index].lastChild.children;
    say(big, value);
    say(small, unit);
  });
  mark(sums.lastChild, "is-bad", answer.store === "down");
}

function showNotes(answer) {
  const own = answer.tenant === null ? "" : ` of tenant ${answer.tenant}`;
  const isFiltered = answer.num_matching !== answer.num_own;
  let note = isFiltered ? `${answer.num_matching} of ${count(answer.num_own, "application")}${own} match.` : `${count(answer.num_own, "application")}${own}, the smallest virtual finish time first.`;
  if (answer.policy !== "justitia") note += ` Calls are served by policy ${answer.policy}, not in this order.`;
  if (answer.workers > 1) note += ` Calls are those of one of ${answer.workers} processes.`;
  say(byId("order-note"), note);
  const more = answer.num_matching - answer.applications.length;
  byId("more").hidden = more <= 0;
  byId("more-button").hidden = state.limit >= MAX_ROWS;
  say(byId("more-text"), `and ${more.toLocaleString("en")} more`);
  document.title = `${answer.calls_waiting} waiting · Justitia console`;
}

function showLink() {
  const silent_s = seconds() - (state.answeredAt ?? state.beganAt);
  const isSilent = !state.isRefused && state.failures > 0 && (silent_s > SILENT_AFTER_S || state.trouble !== "");
  if (isSilent && !state.isSilent) announce("The gateway does not answer any more.");
  state.isSilent = isSilent;
  const link = byId("link");
  mark(link, "is-bad", isSilent || state.isRefused);
  mark(document.body, "is-stale", isSilent);
  const long = silent_s < 100 ? `${Math.floor(silent_s)} s` : `${Math.floor(silent_s / 60)} min`;
  say(byId("link-text"), state.isRefused ? "a key is needed" : isSilent ? `no answer for ${long}` : state.answer ? "live" : "connecting");
  const alarm = byId("alarm");
  alarm.hidden = !isSilent;
  if (isSilent) {
    const shown = state.answer ? " What is shown is as old as that." : "";
    say(alarm, `No answer for ${long}.${state.trouble ? ` ${state.trouble}` : ""}${shown} It is asked again every few seconds.`);
  }
}

/** Polite and rare: only what changes for the reader. */
function announce(text) {
  say(byId("announcer"), text);
}

// --- what the reader does --------------------------------------------------------------------------------------------

function choose(key) {
  state.chosen = state.chosen === key ? null : key;
  state.told = null;
  history.replaceState(null, "", state.chosen ? `#${encodeURIComponent(state.chosen)}` : location.pathname + location.search);
  ask();
}

function close() {
  const key = state.chosen;
  if (key === null) return;
  choose(key);
  focusRow(key);
}

function openKeys() {
  const dialog = byId("key-dialog");
  if (!dialog.open) {
    byId("key-field").value = "";
    dialog.showModal();
  }
}

function useKey(key) {
  state.key = key;
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
  byId("key-dialog").close();
  Object.assign(state, { failures: 0, isRefused: false });
  ask();
}

function begin() {
  byId("rows").addEventListener("keydown", (event) => walk(byId("rows"), event));
  byId("key-button").addEventListener("click", openKeys);
  byId("key-forget").addEventListener("click", () => useKey(""));
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    useKey(byId("key-field").value.trim());
  });
  byId("filter").addEventListener("submit", (event) => event.preventDefault());
  byId("filter").addEventListener("input", () => {
    state.limit = ROWS;
    clearTimeout(timer);
    timer = setTimeout(() => ask().then(() => announce(byId("order-note").textContent)), 250);
  });
  byId("more-button").addEventListener("click", () => {
    state.limit = Math.min(MAX_ROWS, state.limit + ROWS);
    ask();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !byId("key-dialog").open && state.chosen !== null) close();
  });
  document.addEventListener("visibilitychange", () => document.hidden || ask());
  window.addEventListener("hashchange", () => {
    if (named() !== state.chosen) Object.assign(state, { chosen: named(), told: null });
    ask();
  });
  setInterval(showLink, 500);
  ask();
}

begin();
