"""When is it time to train? Pure."""

MIN_APPLICATIONS = 30
"""With fewer, the running mean is as good."""
_MIN_NEW = 20


def is_due(num_new: int, num_learnt: int, since_s: float, interval_s: float) -> bool:
    """`num_new` applications have closed since training last began, `since_s` ago, with `num_learnt`. Early on every
    doubling teaches much; later the hour does."""
    if num_new < _MIN_NEW or num_learnt + num_new < MIN_APPLICATIONS:
        return False
    return num_new >= num_learnt or since_s >= interval_s
