// What holds an application, in words.

import { count, percent, time } from "./units.js";

const SHORT = {
  order: "waits its turn",
  tenant_cap: "tenant's cap",
  quota: "quota spent",
  no_engine: "no engine",
  capacity: "no room yet",
};

/** Without its tenant where all are one's own, or nobody has keys. */
export function nameOf(one, answer) {
  return answer.tenant !== null || one.tenant === "anonymous" ? one.id : `${one.tenant}/${one.id}`;
}

/** For the table. */
export function held(row) {
  if (row.hold !== "nothing") return SHORT[row.hold] ?? row.hold;
  if (!row.calls_running) return "between calls";
  return row.calls_waiting_inside === row.calls_running ? "waits inside" : "runs";
}

/** One sentence, and what else there is to say. */
export function reason(chosen, answer) {
  const row = chosen.application;
  const limits = chosen.limits;
  switch (row.hold) {
    case "order":
      return ["It waits for its turn.", `${count(chosen.calls_ahead, "waiting call")} of its model ${chosen.calls_ahead === 1 ? "ranks" : "rank"} before its own.`];
    case "tenant_cap":
      return ["Its tenant's cap holds it.", `${limits.running_calls} of at most ${count(limits.max_running_calls, "call")} of tenant ${row.tenant} run. Others pass it meanwhile.`];
    case "quota":
      return ["Its tenant's quota is used up.", `New calls are refused for the next ${time(limits.quota_wait_s)}.`];
    case "no_engine":
      return ["No engine that is up serves its model.", "Its calls wait a while for one to come back; then they end in an error."];
    case "capacity":
      return ["It is next, and no engine has room yet.", fullness(answer)];
    default:
      if (row.calls_running && row.calls_waiting_inside === row.calls_running) return ["It waits inside its engine.", `${count(row.calls_running, "call")} on ${engines(row)}: among the next to be given memory there.`];
      if (row.calls_running) return ["It runs.", `${count(row.calls_running, "call")} on ${engines(row)}.`];
      return ["None of its calls is here.", "It is between two calls, or another gateway has them."];
  }
}

export function engines(row) {
  const names = Object.keys(row.engines);
  return names.length === 1 ? names[0] : count(names.length, "engine");
}

/** It has had all that was predicted: how much more there is, nobody knows. */
export function isLate(row) {
  return row.service >= row.predicted_cost;
}

function fullness(answer) {
  const known = answer.engines.filter((engine) => engine.kv_capacity_tokens);
  const parts = known.map((engine) => `${engine.name}: ${percent(engine.kv_used_tokens / engine.kv_capacity_tokens)} of its KV memory in use, ${engine.num_running} of ${engine.max_running_calls} calls running, ${engine.num_waiting} waiting inside`);
  return parts.length ? `${parts.slice(0, 4).join("; ")}.` : "";
}
