"""Faults planted in what the gateway learns: each must turn its tests red.

`old` occurs exactly once in `file`; `tests` are what pytest is given.
"""

TRAINED = "gateway/learning/trained.py"
LEARNING = "gateway/learning/learning.py"
KEEPING = "gateway/learning/keeping.py"
WATCH = "gateway/learning/watch.py"
COURSE = "gateway/scheduling/course.py"
COST_REVISION = "gateway/scheduling/cost_revision.py"
SHAPES = "gateway/identity/shapes.py"

LEARNING_TESTS = "tests/learning"
KEEPING_TESTS = "tests/learning/test_keeping.py"
PREDICTIONS = "tests/scheduling/test_predictions.py"

FAULTS: list[dict[str, str]] = [
    {
        "file": KEEPING,
        "old": "            await asyncio.sleep(_GATHERED_S)\n",
        "new": "",
        "why": "every application that closes is a writing of its own",
        "tests": KEEPING_TESTS,
    },
    {
        "file": KEEPING,
        "old": "                for one in closed:  # one of them cannot be kept\n",
        "new": "                for one in closed[:0]:\n",
        "why": "one that cannot be kept takes those that closed with it along",
        "tests": KEEPING_TESTS,
    },
    {
        "file": LEARNING,
        "old": "        await self._keeping.write()\n",
        "new": "",
        "why": "what closed in the last moments is lost with every restart",
        "tests": LEARNING_TESTS,
    },
    {
        "file": TRAINED,
        "old": "            features = features.without_words()\n",
        "new": "            pass\n",
        "why": "words are kept though nobody asked for it",
        "tests": PREDICTIONS,
    },
    {
        "file": TRAINED,
        "old": "        if self.artifact is None or first.basis is None:\n            return first",
        "new": "        if self.artifact is None:\n            return first",
        "why": "what a client declared is overruled, and breaks",
        "tests": LEARNING_TESTS,
    },
    {
        "file": LEARNING,
        "old": "        if artifact is None or closed.predictor != artifact.version:\n",
        "new": "        if artifact is None:\n",
        "why": "a new predictor is judged by its predecessor's predictions",
        "tests": LEARNING_TESTS,
    },
    {
        "file": LEARNING,
        "old": "if mark is not None and mark.version !=",
        "new": "if mark is None or mark.version !=",
        "why": "a store that lost its memory takes the predictor away, or the loop down",
        "tests": LEARNING_TESTS,
    },
    {
        "file": LEARNING,
        "old": "            self._unusable.add(version)\n",
        "new": "",
        "why": "an unusable predictor is fetched and complained of for ever",
        "tests": LEARNING_TESTS,
    },
    {
        "file": LEARNING,
        "old": "        self._watch = Watch()\n        self._metrics",
        "new": "        self._metrics",
        "why": "a new predictor inherits its predecessor's errors",
        "tests": LEARNING_TESTS,
    },
    {
        "file": WATCH,
        "old": "served > TOLERANCE * fmean(errors)",
        "new": "served > fmean(errors)",
        "why": "predictors change places without need",
        "tests": LEARNING_TESTS,
    },
    {
        "file": WATCH,
        "old": "fmean(list(self._served)[-len(errors) :])",
        "new": "fmean(self._served)",
        "why": "a rival that came late is compared over another time",
        "tests": LEARNING_TESTS,
    },
    {
        "file": COURSE,
        "old": "        return bool(self._is_new and self._num_ended and self._open)",
        "new": "        return bool(self._num_ended and self._open)",
        "why": "the order is asked about at every sweep though nothing has happened",
        "tests": "tests/scheduling/test_course.py",
    },
    {
        "file": COURSE,
        "old": "        self._open.pop(call_id, None)\n",
        "new": "        pass\n",
        "why": "calls that never ran stay open for ever",
        "tests": "tests/scheduling/test_course.py",
    },
    {
        "file": COST_REVISION,
        "old": "if not is_worth_revising(prediction.cost, local.record.predicted_cost):",
        "new": "if False:",
        "why": "the order moves for nothing",
        "tests": PREDICTIONS,
    },
    {
        "file": COST_REVISION,
        "old": "if prediction.basis is None or not local.course.awaits_first_call:",
        "new": "if True:",
        "why": "an application declared ahead is never predicted",
        "tests": PREDICTIONS,
    },
    {
        "file": SHAPES,
        "old": "        seen += latest != application",
        "new": "        seen += 1",
        "why": "one application with many calls makes a kind",
        "tests": "tests/identity/test_shapes.py",
    },
    {
        "file": "gateway/learning/learning.py",
        "old": "            if is_ours:\n",
        "new": "            if True:\n",
        "why": "all gateways of one Redis train at once",
        "tests": "tests/learning/test_turns.py",
    },
    {
        "file": "gateway/learning/turns.py",
        "old": "        await turns.hold_turn(trainer, rest_s)",
        "new": "        await turns.hold_turn(trainer, 0.0)",
        "why": "who is due right after a training trains again on the same record",
        "tests": "tests/learning/test_turns.py",
    },
    {
        "file": "gateway/stores/lua/hold_turn.lua",
        "old": "if holder and holder ~= ARGV[1] then",
        "new": "if holder then",
        "why": "a trainer cannot renew its turn, nor train again",
        "tests": "tests/learning/test_turns.py",
    },
    {
        "file": "gateway/scheduling/course.py",
        "old": 'return self.first.predictor in ("mean", "default") and not self._num_ended',
        "new": "return False",
        "why": "who came when nothing was known would wait behind all who come when more is",
        "tests": "tests/scheduling/test_predictions.py",
    },
    {
        "file": "gateway/scheduling/course.py",
        "old": 'return self.first.predictor in ("mean", "default") and not self._num_ended',
        "new": 'return self.first.predictor in ("mean", "default")',
        "why": "what its own calls have told would be forgotten for a new guess",
        "tests": "tests/scheduling/test_predictions.py",
    },
    {
        "file": COST_REVISION,
        "old": "            if kind not in known:\n",
        "new": "            if True:\n",
        "why": "the store would be asked for the same mean for everybody who waits",
        "tests": "tests/scheduling/test_predictions.py",
    },
    {
        "file": COST_REVISION,
        "old": "course is not local.course or ",
        "new": "",
        "why": "a guess would be put in the place of what was known by then",
        "tests": "tests/scheduling/test_predictions.py",
    },
    {
        "file": COST_REVISION,
        "old": "        course.first = known\n",
        "new": "",
        "why": "a model would be asked about everybody who waits, with every sweep",
        "tests": "tests/scheduling/test_predictions.py",
    },
]
