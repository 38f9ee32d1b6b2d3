"""Faults planted in shares of tenants: the clock, both stores, the gateway that follows them, the simulator."""

CLOCK = "gateway/fairness/tenant_clock.py"
SHARES = "gateway/fairness/shares.py"
LUA = "gateway/stores/lua/"
ORDER = "gateway/scheduling/tenant_order.py"
APPLICATIONS = "gateway/scheduling/applications.py"
SIMULATION = "gateway/replay/simulation.py"

CLOCK_TESTS = "tests/fairness/test_tenant_clock.py tests/fairness/test_tenant_clock_properties.py"
DELAY = "tests/fairness/test_delay_of_tenants.py"
ORDER_TESTS = "tests/scheduling/test_tenant_order.py"
STORES = "tests/stores/test_tenant_shares.py"
REDIS_TESTS = "tests/stores/test_redis_tenants.py"
REPLAY = "tests/replay/test_simulation.py -k 'tenant'"

FAULTS: list[dict[str, str]] = [
    {
        "file": CLOCK,
        "old": " and (not found or one[0] != found[-1][0]):\n",
        "new": ":\n",
        "why": "of those that finish together the wrong ones are listed",
        "tests": "tests/fairness/test_shares.py",
    },
    {
        "file": "gateway/fairness/virtual_clock.py",
        "old": "if entry != last and self._is_live(*entry):",
        "new": "if self._is_live(*entry):",
        "why": "one whose finish time went and came back is listed twice",
        "tests": "tests/fairness/test_shares.py",
    },
    {
        "file": SHARES,
        "old": "if tag.is_open and not tag.is_backlogged)",
        "new": "if tag.is_open)",
        "why": "who is unfinished is listed twice",
        "tests": "tests/fairness/test_shares.py",
    },
    # --- the clock --------------------------------------------------------------------------------------------------
    {
        "file": CLOCK,
        "old": "        tenant.weight, tenant.paid = weight, tenant.handed_in - owed\n",
        "new": "        tenant.weight, tenant.paid = weight, 0.0\n",
        "why": "what a tenant handed in long ago is paid for again",
        "tests": CLOCK_TESTS,
    },
    {
        "file": CLOCK,
        "old": "        elif owner.weight != tenant_weight or not self._clock.is_backlogged(owner.flow):\n",
        "new": "        elif owner.weight != tenant_weight:\n",
        "why": "a tenant saves up the share that it did not use",
        "tests": CLOCK_TESTS,
    },
    {
        "file": CLOCK,
        "old": "        elif owner.weight != tenant_weight or not self._clock.is_backlogged(owner.flow):\n",
        "new": "        elif not self._clock.is_backlogged(owner.flow):\n",
        "why": "a tenant's new weight counts when it comes back, if ever",
        "tests": CLOCK_TESTS,
    },
    {
        "file": CLOCK,
        "old": "            start = max(self.virtual_time, self._clock.start_time(tenant.flow))\n",
        "new": "            start = self.virtual_time\n",
        "why": "a tenant that came back pays for its old end again when its weight changes",
        "tests": CLOCK_TESTS,
    },
    {
        "file": CLOCK,
        "old": "        self.done += self.parts.pop(application_id).left\n",
        "new": "        self.parts.pop(application_id)\n",
        "why": "what is closed unfinished stands before the tenant's others for ever",
        "tests": CLOCK_TESTS,
    },
    {
        "file": CLOCK,
        "old": "        self.clock.serve(KvTokenTime(max(0.0, served)))\n",
        "new": "",
        "why": "a tenant's own clock stands still, and its small newcomers pass its large ones for ever",
        "tests": CLOCK_TESTS,
    },
    {
        "file": CLOCK,
        "old": "initial=self.done",
        "new": "initial=0.0",
        "why": "what a tenant has had does not count, so its pieces all come first",
        "tests": DELAY,
    },
    {
        "file": CLOCK,
        "old": "            self._clock.close(tenant.flow)\n",
        "new": "            self._clock.close(tenant.flow, KvTokenTime(0.0))\n",
        "why": "a tenant that goes and comes back at once has a new share",
        "tests": CLOCK_TESTS,
    },
    {
        "file": SHARES,
        "old": 'return TenantClock() if name == "tenant" else ApplicationClock()',
        "new": "return ApplicationClock()",
        "why": "shares of tenants are a word",
        "tests": DELAY,
    },
    {
        "file": CLOCK,
        "old": "weight, tenant.handed_in - owed",
        "new": "weight, tenant.handed_in",
        "why": "a change of weight forgives a tenant what is still owed",
        "tests": CLOCK_TESTS,
    },
    # --- Redis ------------------------------------------------------------------------------------------------------
    {
        "file": LUA + "tenant_shares.lua",
        "old": " or not call('ZSCORE', BACKLOGGED, name) then",
        "new": " then",
        "why": "a tenant saves up the share that it did not use",
        "tests": STORES,
    },
    {
        "file": LUA + "tenant_shares.lua",
        "old": "  advance_by(tenant.clock, math.max(0, served))\n",
        "new": "",
        "why": "within a tenant small newcomers pass a large application for ever",
        "tests": STORES,
    },
    {
        "file": LUA + "tenant_shares.lua",
        "old": "local start, left = start_of(tenant.clock, id), math.floor(cost)",
        "new": "local start, left = start_of(tenant.clock, id), cost",
        "why": "sums of costs depend on their order",
        "tests": STORES,
    },
    {
        "file": LUA + "tenant_shares.lua",
        "old": "      forget_tenant(tenant.name)\n",
        "new": "",
        "why": "tenants without applications stay in Redis",
        "tests": REDIS_TESTS,
    },
    {
        "file": LUA + "tenant_shares.lua",
        "old": "  leave(id) -- if its hash timed out, the order still has it\n",
        "new": "",
        "why": "an application that timed out counts twice when it comes back",
        "tests": REDIS_TESTS,
    },
    {
        "file": LUA + "tenant_shares.lua",
        "old": "finish_at(tenant, last + 1) == finish_at(tenant, last)",
        "new": "false",
        "why": "of those that finish together others are listed than the first by id",
        "tests": STORES,
    },
    {
        "file": LUA + "tenant_shares.lua",
        "old": "list(backlogged, tenant, first_ahead(tenant), limit)",
        "new": "list(backlogged, tenant, 1, limit)",
        "why": "applications that GPS has served are listed as unfinished",
        "tests": STORES,
    },
    {
        "file": LUA + "tenants.lua",
        "old": "local start = math.max(clock.virtual_time, tenant.start)",
        "new": "local start = clock.virtual_time",
        "why": "a tenant that came back loses its place when its weight changes",
        "tests": STORES,
    },
    {
        "file": LUA + "tenants.lua",
        "old": "num_open ~= call('HLEN', keys[5])",
        "new": "false",
        "why": "a tenant that lost a key fails every operation on it",
        "tests": REDIS_TESTS,
    },
    {
        "file": LUA + "tenants.lua",
        "old": "if call('EXISTS', OPEN) ~= call('EXISTS', OWNERS) then",
        "new": "if false then",
        "why": "what Redis kept of tenants outlives the list of them",
        "tests": REDIS_TESTS,
    },
    {
        "file": LUA + "tenants.lua",
        "old": "  forget_tenant(name) -- whatever is left of it from another order\n",
        "new": "",
        "why": "a tenant begins with the applications of an order that is over",
        "tests": REDIS_TESTS,
    },
    {
        "file": LUA + "tenants.lua",
        "old": "      keep(key, ARGV[1])\n",
        "new": "",
        "why": "a tenant's keys live for ever",
        "tests": "tests/stores/test_redis.py -k lives",
    },
    {
        "file": LUA + "tenants.lua",
        "old": "return works[EXACT] + each * (at - EXACT)",
        "new": "return works[EXACT]",
        "why": "behind the first of a tenant all finish at once",
        "tests": STORES,
    },
    {
        "file": LUA + "shared_clock.lua",
        "old": "if (kept[3] or 'application') ~= SHARES then",
        "new": "if false then",
        "why": "applications are taken for tenants when the kind of shares is changed",
        "tests": REDIS_TESTS,
    },
    # --- the gateway ------------------------------------------------------------------------------------------------
    {
        "file": ORDER,
        "old": "                await asyncio.sleep(self._wait_s)\n",
        "new": "                await asyncio.sleep(0)\n",
        "why": "a burst of arrivals asks the store for each of them",
        "tests": ORDER_TESTS,
    },
    {
        "file": ORDER,
        "old": "        except StoreUnavailable:\n            return 0.0",
        "new": "        except ZeroDivisionError:\n            return 0.0",
        "why": "a store that is away ends the following for good",
        "tests": ORDER_TESTS,
    },
    {
        "file": APPLICATIONS,
        "old": "virtual_finish_time=finish_time)\n            self._on_ranked(local)\n",
        "new": "virtual_finish_time=finish_time)\n",
        "why": "a moved application keeps its rank in the queue and in the engine",
        "tests": ORDER_TESTS,
    },
    {
        "file": "gateway/scheduling/rounds.py",
        "old": "            for local in some:\n                self._on_touched(local)\n",
        "new": "",
        "why": "what other gateways bring moves nobody here",
        "tests": ORDER_TESTS,
    },
    {
        "file": APPLICATIONS,
        "old": "            tenant_weight=local.tenant_weight,\n",
        "new": "",
        "why": "after a lost store every tenant has the usual weight",
        "tests": ORDER_TESTS,
    },
    {
        "file": SIMULATION,
        "old": "self._of_tenant[_tenant_of(running.application)] if self._is_by_tenant else {application_id: running}",
        "new": "{application_id: running}",
        "why": "in the simulator a newcomer would move nobody",
        "tests": REPLAY,
    },
]
