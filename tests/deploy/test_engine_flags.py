"""What images, Compose and Kubernetes tell engines, read by vLLM itself."""

import pytest

from tests.deploy.manifests import OVERLAYS, container, pod, rendered
from tests.deploy.test_compose import ENGINES, composed
from tests.deploy.tools import DEPLOY, engine_flags, seconds, stages

pytestmark = pytest.mark.engine


def test_engines_understand_what_they_are_told_and_finish_before_they_are_killed() -> None:
    """(command, seconds between the stop signal and the end) of each; the images' own commands have nobody's."""
    engines = [composed()["services"][name] for name in ENGINES.values()]
    told: list[tuple[list[str], float]] = [(one["command"], seconds(one["stop_grace_period"])) for one in engines]
    for overlay in OVERLAYS:
        objects = rendered(overlay)
        grace_s = pod(objects, "justitia-engine")["terminationGracePeriodSeconds"]
        told.append((container(objects, "justitia-engine")["args"], grace_s))
    for name in ("engine", "engine-cpu"):
        [command] = [step.words for step in stages(DEPLOY / f"{name}.Dockerfile")[-1] if step.name == "CMD"]
        told.append((command, float("inf")))

    for flags, (command, grace_s) in zip(engine_flags([command for command, _ in told]), told, strict=True):
        assert flags.model == command[0]
        assert (flags.host, flags.port) == ("0.0.0.0", 8000)
        assert flags.shutdown_timeout + 10 <= grace_s
        assert flags.shutdown_timeout > 0 or grace_s == float("inf")
