"""Faults planted in gateway.scheduling: each must turn its tests red.

`old` occurs exactly once in `file`; `tests` are what pytest is given.
"""

SCHEDULER = "gateway/scheduling/scheduler.py"
WINDOW = "gateway/scheduling/engine_window.py"
QUEUE = "gateway/scheduling/ready_queue.py"
ACCOUNTS = "gateway/scheduling/accounts.py"
APPLICATION_STORE = "gateway/scheduling/application_store.py"
APPLICATIONS = "gateway/scheduling/applications.py"
CHARGES = "gateway/scheduling/charges.py"
ROUNDS = "gateway/scheduling/rounds.py"
DISPATCHER = "gateway/scheduling/dispatcher.py"
LANES = "gateway/scheduling/lanes.py"
QUOTAS = "gateway/scheduling/quotas.py"
METERING = "gateway/scheduling/metering.py"
SHEDDING = "gateway/scheduling/shedding.py"
TURNSTILE = "gateway/scheduling/turnstile.py"

UNITS = "tests/scheduling"
SCHEDULER_HISTORIES = "tests/properties/test_scheduler_histories.py"
CHARGE_TESTS = "tests/scheduling/test_charges.py"
CALL_HISTORIES = "tests/properties/test_call_histories.py"
GARBAGE = "tests/http/test_garbage.py"

FAULTS: list[dict[str, str]] = [
    {
        "file": TURNSTILE,
        "old": "            del turn",
        "new": "            pass",
        "why": "all of a call that was refused is kept until garbage is looked for",
        "tests": GARBAGE,
    },
    {
        "file": "gateway/scheduling/passage.py",
        "old": "                del told",
        "new": "                pass",
        "why": "all of a call that was refused is kept until garbage is looked for",
        "tests": GARBAGE,
    },
    {
        "file": SCHEDULER,
        "old": "        del self._entries[call_id]\n",
        "new": "",
        "why": "a call ends twice when its client leaves after the answer",
        "tests": SCHEDULER_HISTORIES,
    },
    {
        "file": SCHEDULER,
        "old": "        self._load.num_bytes -= entry.call.body_bytes",
        "new": "        pass",
        "why": "bytes of calls that left still count, and the queue is full for ever",
        "tests": UNITS,
    },
    {
        "file": SCHEDULER,
        "old": "            entry.engine.ended(call_id)\n",
        "new": "",
        "why": "an engine's window never learns that a call has ended",
        "tests": SCHEDULER_HISTORIES,
    },
    {
        "file": SCHEDULER,
        "old": "len(aside) == MAX_ASIDE:\n                break",
        "new": "len(aside) == MAX_ASIDE:\n                queue.remove(call_id)\n                continue",
        "why": "a call that does not fit is lost and the next slips past",
        "tests": UNITS,
    },
    {
        "file": SCHEDULER,
        "old": "if len(self._deadlines) > 2 * self._load.num_calls + MIN_HEAP_TO_COMPACT:",
        "new": "if False:",
        "why": "deadlines of calls that left pile up",
        "tests": UNITS,
    },
    {
        "file": SCHEDULER,
        "old": "if call.model not in self._queues and self._tenants",
        "new": "if self._tenants",
        "why": "a newcomer that fits slips past those that wait",
        "tests": UNITS,
    },
    {
        "file": SCHEDULER,
        "old": "in self._queues and self._tenants.has_room(call.tenant):",
        "new": "in self._queues:",
        "why": "a tenant at its cap has more calls running where nobody waits",
        "tests": UNITS,
    },
    {
        "file": SCHEDULER,
        "old": "elif now - max(call.arrived_at, self._lost_at) >= self._grace_s:",
        "new": "elif now - call.arrived_at >= self._grace_s:",
        "why": "an engine that restarts gets no grace",
        "tests": UNITS,
    },
    {
        "file": SCHEDULER,
        "old": "            if rank != in_flight.rank:\n                in_flight.rank = moved",
        "new": "            if rank < in_flight.rank:\n                in_flight.rank = moved",
        "why": "an application whose finish time moves back keeps its place in the engine",
        "tests": UNITS,
    },
    {
        "file": WINDOW,
        "old": "if not call.is_answering and call.sent_at > as_of - TRANSIT_S",
        "new": "if False",
        "why": "what was just sent is not counted against the engine's memory",
        "tests": UNITS,
    },
    {
        "file": WINDOW,
        "old": "        if state.num_waiting:\n            self._free_tokens = self._free_seqs = 0\n        else:",
        "new": "        if True:",
        "why": "an engine with a queue of its own is filled as if it had none",
        "tests": UNITS,
    },
    {
        "file": WINDOW,
        "old": "self.in_flight[other].rank <= rank",
        "new": "self.in_flight[other].rank < rank",
        "why": "equals of those that wait inside all go in: the engine's queue is not shallow",
        "tests": UNITS,
    },
    {
        "file": QUEUE,
        "old": "            self.put((rank, application_id, arrival, call_id))",
        "new": "            self.put((rank, application_id, next(self._arrivals), call_id))",
        "why": "a re-ranked call loses its place among its equals",
        "tests": UNITS,
    },
    {
        "file": ACCOUNTS,
        "old": "account.ended_at > as_of",
        "new": "account.ended_at < as_of",
        "why": "a call is settled by a reading that began before it had ended",
        "tests": UNITS,
    },
    {
        "file": ACCOUNTS,
        "old": "            account.is_orphan = True",
        "new": "            pass",
        "why": "calls of a restarted engine wait for records that cannot come",
        "tests": UNITS,
    },
    {
        "file": APPLICATION_STORE,
        "old": "has_forgotten = reading < last_seen",
        "new": "has_forgotten = False",
        "why": "a store that lost its memory is not noticed",
        "tests": UNITS,
    },
    {
        "file": APPLICATIONS,
        "old": "        self._forget_idle()\n        try:",
        "new": "        try:",
        "why": "applications that another gateway closed stay here for ever",
        "tests": CALL_HISTORIES,
    },
    {
        "file": CHARGES,
        "old": "                await held.enter_async_context(local.telling)\n",
        "new": "                pass\n",
        "why": "what a sweep is sending is sent again when the application ends meanwhile",
        "tests": CHARGE_TESTS,
    },
    {
        "file": CHARGES,
        "old": "            local.unsent_service -= amounts[application_id]\n",
        "new": "            local.unsent_service = 0.0\n",
        "why": "what is charged while the store is told is lost",
        "tests": CHARGE_TESTS,
    },
    {
        "file": CHARGES,
        "old": "        standings = await self._store.charge(amounts, self._now())\n",
        "new": "        for local in charged.values():\n            local.unsent_service = 0.0\n"
        "        standings = await self._store.charge(amounts, self._now())\n",
        "why": "what the store did not take is never sent",
        "tests": CHARGE_TESTS,
    },
    {
        "file": ROUNDS,
        "old": "if self._known.get(local.record.application_id) is local and not local.is_settling:",
        "new": "if True:",
        "why": "an application that ends while a sweep sends its charge is opened again",
        "tests": CHARGE_TESTS,
    },
    {
        "file": ROUNDS,
        "old": "                yield few\n                await asyncio.sleep(0)\n",
        "new": "                yield few\n",
        "why": "no call gets its turn while thousands of applications are charged",
        "tests": CHARGE_TESTS,
    },
    {
        "file": APPLICATIONS,
        "old": "cost=remaining_cost(record.predicted_cost, record.service)",
        "new": "cost=record.predicted_cost",
        "why": "after a flush an application pays again for what it has had",
        "tests": UNITS,
    },
    {
        "file": APPLICATIONS,
        "old": "        local.num_calls -= 1",
        "new": "        local.num_calls -= int(not local.is_provisional)",
        "why": "an application that was opened without the store is never closed",
        "tests": CALL_HISTORIES,
    },
    {
        "file": TURNSTILE,
        "old": "            del self._turns[call.call_id]",
        "new": "            pass",
        "why": "every call leaves its turn behind",
        "tests": CALL_HISTORIES,
    },
    {
        "file": DISPATCHER,
        "old": "self._applications.call_settled(local.record.application_id, request.call_id, was_dispatched=False)",
        "new": "pass",
        "why": "an application whose call left the queue is never closed",
        "tests": CALL_HISTORIES,
    },
    {
        "file": LANES,
        "old": "if name not in (COMMON, ASIDE) and not self._has_room(name))",
        "new": "if name not in (COMMON, ASIDE))",
        "why": "calls whose tenant has room are told to be held back by its cap",
        "tests": "tests/scheduling/test_lanes.py",
    },
    {
        "file": "gateway/scheduling/scheduler.py",
        "old": "                found[Hold.NO_ENGINE] += len(queue)\n                continue\n",
        "new": "                found[Hold.NO_ENGINE] += len(queue)\n",
        "why": "calls that nobody serves are counted twice",
        "tests": "tests/scheduling/test_tenants.py",
    },
    {
        "file": LANES,
        "old": "                if lane == COMMON or (lane != ASIDE and self._has_room(lane)):",
        "new": "                if True:",
        "why": "caps on running calls hold nobody back",
        "tests": UNITS,
    },
    {
        "file": SCHEDULER,
        "old": "                queue.reopen(tenant)",
        "new": "                pass",
        "why": "calls behind a cap wait on when one of their tenant's has ended",
        "tests": UNITS,
    },
    {
        "file": LANES,
        "old": "            self._closed.discard(lane)\n            self._head_of",
        "new": "            self._head_of",
        "why": "a lane that was emptied while closed never opens again",
        "tests": "tests/scheduling/test_lanes.py",
    },
    {
        "file": QUOTAS,
        "old": "        over = self.level + self.held + min(amount, quota) - quota",
        "new": "        over = self.level + min(amount, quota) - quota",
        "why": "a burst overshoots a quota without bound: what runs does not count",
        "tests": UNITS,
    },
    {
        "file": QUOTAS,
        "old": "max(0.0, level + bucket.unsent)",
        "new": "max(0.0, level)",
        "why": "what was used while the ledger answered is forgotten",
        "tests": UNITS,
    },
    {
        "file": QUOTAS,
        "old": "        account.tokens.unsent = account.kv_token_time.unsent = 0.0\n",
        "new": "",
        "why": "every second tells everything again",
        "tests": UNITS,
    },
    {
        "file": METERING,
        "old": "charge.service - by_formula",
        "new": "charge.service",
        "why": "a call is charged by formula and by the engine's account",
        "tests": UNITS,
    },
    {
        "file": SHEDDING,
        "old": "if self._current[entry[2]][1] >= num_bytes",
        "new": "if True",
        "why": "an older and smaller call gives way to a larger one",
        "tests": UNITS,
    },
    {
        "file": SCHEDULER,
        "old": "        self._bodies.remove(entry.call.call_id)\n",
        "new": "",
        "why": "a call that was dispatched is shed",
        "tests": UNITS,
    },
    {
        "file": "gateway/scheduling/retry_after.py",
        "old": "        refused.add(now)\n",
        "new": "",
        "why": "however many are refused, all are told to come back at once",
        "tests": UNITS,
    },
    {
        "file": "gateway/scheduling/application_desk.py",
        "old": "min(declared, of_tenant)",
        "new": "declared",
        "why": "whoever declares a weight takes the share it likes",
        "tests": UNITS,
    },
    {
        "file": "gateway/scheduling/usage_feed.py",
        "old": "                self._untold.popleft()\n",
        "new": "                self._untold.popleft()\n                self._untold.clear()\n",
        "why": "of many tenants only the first few hundred are told",
        "tests": UNITS,
    },
    {
        "file": "gateway/scheduling/tenant_usage.py",
        "old": "if int(now // HOUR_S) != self.hour:",
        "new": "if False:",
        "why": "what was used before the hour counts for this hour",
        "tests": "tests/scheduling/test_tenant_usage.py",
    },
]
