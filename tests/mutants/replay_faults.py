"""Faults in the simulator, in what it measures and in the workloads it is given."""

SIMULATION = "tests/replay/test_simulation.py"
RECORDS = "tests/replay/test_records_and_drawing.py"
WORKLOADS = "tests/benchmarks/test_workloads.py"

FAULTS = [
    {
        "file": "gateway/replay/simulation.py",
        "old": "running.charged += self._charging(record)",
        "new": "running.charged += record.service",
        "why": "what a study charges in full would be charged as measured",
        "tests": SIMULATION,
    },
    {
        "file": "gateway/replay/simulation.py",
        "old": "            self._clock.update(application_id, cost, service)",
        "new": "            pass",
        "why": "the late rule would not be simulated",
        "tests": SIMULATION,
    },
    {
        "file": "gateway/replay/simulation.py",
        "old": "if not open_ones:\n                    self._at(self._now + call.delay_s,",
        "new": "if not open_ones:\n                    self._at(self._now,",
        "why": "tools would take no time",
        "tests": SIMULATION,
    },
    {
        "file": "gateway/replay/simulation.py",
        "old": "one: dues[one] - attained for",
        "new": "one: attained - dues[one] for",
        "why": "lag would have the wrong sign",
        "tests": f"{SIMULATION} {RECORDS}",
    },
    {
        "file": "gateway/replay/measures.py",
        "old": "return [c.service_at_finish - ideal[c.application_id] for c in run.completions]",
        "new": "return [c.service - ideal[c.application_id] for c in run.completions]",
        "why": "lateness would be measured on the wrong axis",
        "tests": f"{SIMULATION} {RECORDS}",
    },
    {
        "file": "gateway/replay/ideal.py",
        "old": "            weights = weights - weight if unfinished else 0.0",
        "new": "            weights = weights if unfinished else 0.0",
        "why": "who has left the fluid server would keep its share",
        "tests": "tests/replay/test_ideal.py",
    },
    {
        "file": "engine_patch/simulated.py",
        "old": "            self._admitted[request_id] = now",
        "new": "            pass",
        "why": "time spent preempted would count as a stay, and the bound beside the lateness be meaningless",
        "tests": SIMULATION,
    },
    {
        "file": "gateway/replay/prompts.py",
        "old": "            if text not in self._first_id_of:",
        "new": "            if True:",
        "why": "agents would not share their system prompt",
        "tests": "tests/replay/test_costs_and_prompts.py",
    },
    {
        "file": "gateway/replay/records.py",
        "old": "    return [order[round(place * (len(order) - 1) / (count - 1))] for place in range(count)]",
        "new": "    return order[:count]",
        "why": "only the largest would be drawn",
        "tests": RECORDS,
    },
    {
        "file": "gateway/workloads/workload.py",
        "old": "json.dumps(value, sort_keys=True, ensure_ascii=False)",
        "new": "json.dumps(self.arrivals_s)",
        "why": "different work would have one fingerprint",
        "tests": WORKLOADS,
    },
    {
        "file": "benchmarks/workloads.py",
        "old": "calls[n::pieces]",
        "new": "calls[n : n + 1]",
        "why": "a job in pieces would be less work than the whole",
        "tests": WORKLOADS,
    },
    {
        "file": "gateway/engines/vllm.py",
        "old": '_, text = await self._answer("GET", "/server_info?config_format=json", self._open_to_all, b"")',
        "new": 'text = await self._find("/server_info?config_format=json", self._open_to_all) or b""',
        "why": "an engine whose development route fails would be called lost",
        "tests": "tests/engines/test_vllm.py",
    },
]
