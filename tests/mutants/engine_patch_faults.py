"""Faults in what the patch adds to vLLM's order."""

PASSING = "tests/engine_patch/test_passing.py"

FAULTS = [
    {
        "file": "engine_patch/passing.py",
        "old": "waited >= self._most_iterations",
        "new": "False",
        "why": "passing: the first in order could be passed for ever",
        "tests": PASSING,
    },
    {
        "file": "engine_patch/passing.py",
        "old": "            request.priority = priority\n",
        "new": "",
        "why": "passing: who has passed would keep the rank that let it",
        "tests": PASSING,
    },
    {
        "file": "engine_patch/passing.py",
        "old": "                free -= needed\n",
        "new": "",
        "why": "passing: one for whom there is no memory would stand before the first",
        "tests": PASSING,
    },
    {
        "file": "engine_patch/passing.py",
        "old": "free > self._free_blocks or ",
        "new": "",
        "why": "passing: memory that has come free would go to another than the first",
        "tests": PASSING,
    },
    {
        "file": "engine_patch/passing.py",
        "old": "self._refused_since.pop(request.request_id, None)",
        "new": "self._refused_since.get(request.request_id)",
        "why": "passing: every request ever refused would be remembered",
        "tests": PASSING,
    },
    {
        "file": "engine_patch/scheduler.py",
        "old": "            and len(self.running) < most_active\n",
        "new": "",
        "why": "passing: the first would count as refused for want of memory when there are too many at once",
        "tests": PASSING,
    },
]
