"""python -m deploy.dashboards.pictures: docs/images/*.png, as Prometheus's own page draws what the panels ask.

A gateway serves a made-up load for two minutes, Prometheus watches it, Chromium takes the pictures. Needs both of them
(Debian's packages prometheus and chromium) and the tests' modelled engine.
"""

import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

from tests.deploy.observed import Engine, learning, load, made_keys, prometheus
from tests.fakes.running_gateway import running_gateway

IMAGES = Path(__file__).parent.parent.parent / "docs" / "images"

PICTURES: Mapping[str, str] = {
    "lateness": '{__name__=~"justitia_application_lateness(_bound)?_kv_token_iterations"}',
    "spread": '{__name__=~"justitia_virtual_(start_spread|cost_max)_kv_token_iterations"}',
    "waiting": "sum by (tenant_class) (justitia_tenant_calls_queued)",
    "service": "sum by (tenant_class) (rate(justitia_tenant_service_kv_token_iterations_total[20s]))",
}
"""What is asked, by the picture's name."""

_WARM_UP_S = 30
_WATCHED_S = 120
_NUM_SIDE_BY_SIDE = 48
"""Three times what the modelled engine runs at once."""
_SIZE = "1000,830"


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        keys = made_keys(folder / "keys.json")
        environment = {**learning(folder), "JUSTITIA_APPLICATIONS__DEFAULT_COST": "20000"}
        with (
            Engine() as engine,
            running_gateway(folder, "--engine", engine.vllm.url, environment=environment) as gateway,
            prometheus(folder, gateway.url, scrape_interval_s=1) as watching,
        ):
            calls = engine.start(load(gateway.url, keys, _NUM_SIDE_BY_SIDE))
            time.sleep(_WARM_UP_S + _WATCHED_S)
            if calls.done():
                raise calls.exception()
            for name, expr in PICTURES.items():
                _take(watching.url, expr, IMAGES / f"{name}.png", folder)
            calls.cancel()


def _take(url: str, expr: str, path: Path, folder: Path) -> None:
    asked = {"g0.expr": expr, "g0.tab": "0", "g0.stacked": "0", "g0.range_input": f"{_WATCHED_S}s"}
    command = [
        "chromium",
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={folder}/chromium",
        f"--window-size={_SIZE}",
        "--virtual-time-budget=20000",
        f"--screenshot={path}",
        f"{url}/graph?{urlencode(asked)}",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


if __name__ == "__main__":
    main()
