"""Faults planted in the virtual clock, the two stores and `justitia clock`: each must turn its tests red.

`old` occurs exactly once in `file`; `tests` are what pytest is given.
"""

CLOCK = "gateway/fairness/virtual_clock.py"
MEMORY = "gateway/stores/memory.py"
REDIS = "gateway/stores/redis.py"
LUA = "gateway/stores/lua/"
COMMAND = "gateway/clock_command.py"

CONTRACT = "tests/stores/test_contract.py"
AGREE = "tests/properties/test_stores_agree.py -k 'walks or rounding'"
REDIS_TESTS = "tests/stores/test_redis.py"
CLOCK_TESTS = "tests/fairness/test_virtual_clock.py tests/fairness/test_virtual_clock_model.py"

FAULTS: list[dict[str, str]] = [
    # --- the virtual clock ------------------------------------------------------------------------------------------
    {
        "file": CLOCK,
        "old": "float(cost) * 1000 / tag.weight",
        "new": "float(cost) * (1000 / tag.weight)",
        "why": "the finish time differs from the other store's in the last bit",
        "tests": AGREE,
    },
    {
        "file": CLOCK,
        "old": "min(target, finish)",
        "new": "target",
        "why": "rounding carries V beyond the next departure",
        "tests": AGREE,
    },
    {
        "file": CLOCK,
        "old": "if remaining >= needed:",
        "new": "if remaining > needed:",
        "why": "service that just reaches a departure stops short of it",
        "tests": AGREE,
    },
    {
        "file": CLOCK,
        "old": "tag.start, tag.weight, tag.is_open = tag.finish, weight, True",
        "new": "tag.start, tag.weight, tag.is_open = self._virtual_time, weight, True",
        "why": "closing and coming back gains service",
        "tests": CONTRACT,
    },
    {
        "file": CLOCK,
        "old": "            self._weight_sum += weight - tag.weight\n",
        "new": "",
        "why": "an id that comes back unfinished keeps its old weight in the sum",
        "tests": CONTRACT,
    },
    {
        "file": CLOCK,
        "old": "while self._num_backlogged and self._next_departure() <= virtual_time:",
        "new": "if self._num_backlogged and self._next_departure() <= virtual_time:",
        "why": "of equal finish times one departs and the others stay",
        "tests": CLOCK_TESTS,
    },
    {
        "file": CLOCK,
        "old": "tag.is_backlogged, tag.finish > self._virtual_time",
        "new": "tag.is_backlogged, tag.finish >= self._virtual_time",
        "why": "zero cost is backlogged",
        "tests": CLOCK_TESTS,
    },
    {
        "file": CLOCK,
        "old": "            self._weight_sum -= tag.weight\n",
        "new": "            self._weight_sum -= tag.weight if tag.is_open else 0\n",
        "why": "closed applications slow the clock for ever",
        "tests": CONTRACT,
    },
    {
        "file": CLOCK,
        "old": "max(self._virtual_time, float(virtual_time))",
        "new": "float(virtual_time)",
        "why": "a restore takes the clock back",
        "tests": CONTRACT,
    },
    # --- in this process --------------------------------------------------------------------------------------------
    {
        "file": MEMORY,
        "old": "last = self._sources.setdefault(source, mark)",
        "new": "last = self._sources.get(source, (-1, KvTokenTime(0.0)))",
        "why": "the first report of an engine counts its whole life",
        "tests": CONTRACT,
    },
    {
        "file": MEMORY,
        "old": "mark[1] if is_restart else mark[1] - last[1]",
        "new": "abs(mark[1] - last[1])",
        "why": "a restarted engine's counter is subtracted from its old life's",
        "tests": CONTRACT,
    },
    {
        "file": MEMORY,
        "old": "if a.last_seen_at < idle_before",
        "new": "if a.last_seen_at <= idle_before",
        "why": "who was seen at the limit is closed",
        "tests": CONTRACT,
    },
    {
        "file": MEMORY,
        "old": "self._open[id_].service or None",
        "new": "self._open[id_].service",
        "why": "an application that was never charged settles at nothing and spoils the mean",
        "tests": CONTRACT,
    },
    {
        "file": MEMORY,
        "old": "min(application.service + service, MAX_COST)",
        "new": "application.service + service",
        "why": "charges grow beyond what can be settled",
        "tests": CONTRACT,
    },
    {
        "file": MEMORY,
        "old": "self._clock.update(application_id, cost, application.service)\n",
        "new": "pass\n",
        "why": "one that was predicted far too small keeps its place at the head",
        "tests": CONTRACT,
    },
    {
        "file": MEMORY,
        "old": "counted_cost(application.predicted_cost, application.service)",
        "new": "application.predicted_cost",
        "why": "a wrong estimate undoes the late rule",
        "tests": CONTRACT,
    },
    {
        "file": MEMORY,
        "old": "            self._mean.count(cost)\n",
        "new": "",
        "why": "a new kind has no mean to start from",
        "tests": CONTRACT,
    },
    # --- in Redis ---------------------------------------------------------------------------------------------------
    {
        "file": LUA + "prelude.lua",
        "old": "'%.17g'",
        "new": "'%.16g'",
        "why": "a number loses its last bit in Redis",
        "tests": AGREE,
    },
    {
        "file": LUA + "clock.lua",
        "old": "(num_backlogged > 0) ~= (clock.weight_sum > 0)",
        "new": "false",
        "why": "a clock that lost its weight sum divides by nothing",
        "tests": REDIS_TESTS,
    },
    {
        "file": LUA + "shared_clock.lua",
        "old": "for i = 1, NUM_FIXED do",
        "new": "for i = 1, NUM_FIXED - 1 do",
        "why": "a key lives for ever",
        "tests": REDIS_TESTS,
    },
    {
        "file": LUA + "clock.lua",
        "old": "(finish - clock.virtual_time) * clock.weight_sum / 1000",
        "new": "(finish - clock.virtual_time) * (clock.weight_sum / 1000)",
        "why": "the service to a departure differs from the other store's in the last bit",
        "tests": AGREE,
    },
    {
        "file": LUA + "clock.lua",
        "old": "if service >= needed then",
        "new": "if service > needed then",
        "why": "service that just reaches a departure stops short of it",
        "tests": AGREE,
    },
    {
        "file": LUA + "clock.lua",
        "old": "math.min(clock.virtual_time + service * 1000 / clock.weight_sum, finish)",
        "new": "clock.virtual_time + service * 1000 / clock.weight_sum",
        "why": "rounding carries V beyond the next departure",
        "tests": AGREE,
    },
    {
        "file": LUA + "clock.lua",
        "old": "  call('HDEL', clock.weights, id)\n",
        "new": "",
        "why": "weights of the departed stay behind, and the backlogged are taken for broken",
        "tests": CONTRACT,
    },
    {
        "file": LUA + "clock.lua",
        "old": "while finish and finish <= reading do",
        "new": "if finish and finish <= reading then",
        "why": "of equal finish times one departs and the others stay",
        "tests": AGREE,
    },
    {
        "file": LUA + "clock.lua",
        "old": "  depart(clock, id)\n  return tonumber(unfinished)\n",
        "new": "  return tonumber(unfinished)\n",
        "why": "an id that comes back unfinished keeps its old weight in the sum",
        "tests": CONTRACT,
    },
    {
        "file": LUA + "applications.lua",
        "old": "  if now > tonumber(call('HGET', application, 'last_seen_at')) then\n",
        "new": "  if true then\n",
        "why": "a gateway whose clock is slow makes an application look idle",
        "tests": CONTRACT,
    },
    {
        "file": LUA + "applications.lua",
        "old": "  call('ZREM', LAST_SEEN, id)\n",
        "new": "",
        "why": "closed applications pile up in Redis",
        "tests": REDIS_TESTS,
    },
    {
        "file": LUA + "expire.lua",
        "old": "tonumber(last_seen_at) < idle_before",
        "new": "true",
        "why": "an application seen by another gateway a moment ago is closed as idle",
        "tests": REDIS_TESTS,
    },
    {
        "file": LUA + "report.lua",
        "old": "local is_restart = not is_first and incarnation > last_incarnation",
        "new": "local is_restart = not is_first and tonumber(incarnation) > tonumber(last_incarnation)",
        "why": "two starts within a microsecond are one to a double",
        "tests": CONTRACT,
    },
    {
        "file": LUA + "report.lua",
        "old": "keep(source, ARGV[1])\n",
        "new": "",
        "why": "engines that are gone stay in Redis for ever",
        "tests": REDIS_TESTS,
    },
    {
        "file": LUA + "charge.lua",
        "old": "      update(application, id, counted(cost, total), total)\n",
        "new": "",
        "why": "one that was predicted far too small keeps its place at the head",
        "tests": CONTRACT,
    },
    {
        "file": LUA + "revise.lua",
        "old": "counted(cost, charged)",
        "new": "cost",
        "why": "a wrong estimate undoes the late rule",
        "tests": CONTRACT,
    },
    {
        "file": LUA + "applications.lua",
        "old": "math.max(predicted_cost, service)",
        "new": "service",
        "why": "whoever has had anything is placed by that, and not by its prediction",
        "tests": CONTRACT,
    },
    {
        "file": LUA + "charge.lua",
        "old": "math.min(charged + service, MAX_COST)",
        "new": "charged + service",
        "why": "charges grow beyond what can be settled",
        "tests": CONTRACT,
    },
    {
        "file": REDIS,
        "old": "{incarnation:019d}",
        "new": "{incarnation}",
        "why": "incarnations compare as text: 9 after 10",
        "tests": CONTRACT,
    },
    {
        "file": REDIS,
        "old": "start=0, num=limit",
        "new": "start=0, num=-1",
        "why": "an expiry closes more than it was asked to, in one long script",
        "tests": CONTRACT,
    },
    {
        "file": "gateway/stores/redis_connection.py",
        "old": "async with asyncio.timeout(self._timeout_s):",
        "new": "async with asyncio.timeout(None):",
        "why": "a hanging Redis hangs the gateway",
        "tests": REDIS_TESTS + " -k hang -o faulthandler_timeout=20 -o faulthandler_exit_on_timeout=true",
    },
    {
        "file": "gateway/stores/redis_connection.py",
        "old": 'return name if code is None else f"{name} {code[1]}"',
        "new": "return str(error)",
        "why": "what was asked of Redis stands in the log",
        "tests": "tests/stores/test_redis_connection.py",
    },
    # --- the command ------------------------------------------------------------------------------------------------
    {
        "file": COMMAND,
        "old": "if isinstance(value, bool) or not isinstance(value, int | float):",
        "new": "if not isinstance(value, int | float):",
        "why": "`true` is a cost of one",
        "tests": "tests/test_clock_command.py",
    },
    {
        "file": COMMAND,
        "old": "            await store.wipe()\n",
        "new": "            await store.ping()\n",
        "why": "what was tried out stays in Redis",
        "tests": "tests/test_clock_command.py",
    },
    {
        "file": "gateway/stores/lua/add_used.lua",
        "old": "if sequence <= tonumber",
        "new": "if sequence < tonumber",
        "why": "what is told again after a timeout is counted twice",
        "tests": "tests/stores/test_usage_sums.py",
    },
    {
        "file": "gateway/stores/lua/add_used.lua",
        "old": "  if call('HGET', key, span) ~= number then",
        "new": "  if not call('HGET', key, span) then",
        "why": "yesterday's use is today's",
        "tests": "tests/stores/test_usage_sums.py",
    },
    {
        "file": "gateway/stores/redis_usage_sums.py",
        "old": 'if float(sums["day"]) == now // DAY_S else {}',
        "new": "",
        "why": "a tenant that has not come yet today has used what it did yesterday",
        "tests": "tests/stores/test_usage_sums.py",
    },
    {
        "file": "gateway/stores/redis_usage_sums.py",
        "old": "await self._redis.within_time(self._redis.client.unlink(*gone))",
        "new": "pass",
        "why": "tenants that made room leave their sums in Redis",
        "tests": "tests/stores/test_usage_sums.py",
    },
    {
        "file": "gateway/scheduling/usage_feed.py",
        "old": "        if not self._unsummed:\n            self._unsummed",
        "new": "        if True:\n            self._unsummed.clear()\n            self._unsummed",
        "why": "what was used while Redis was away is not counted",
        "tests": "tests/scheduling/test_usage_feed.py",
    },
]
