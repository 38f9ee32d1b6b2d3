"""python -m deploy.dashboards: write deploy/grafana/dashboards/*.json."""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.dashboards.fairness import fairness
from deploy.dashboards.operators import operators

FOLDER = Path(__file__).parent.parent / "grafana" / "dashboards"


def written() -> dict[Path, str]:
    """What belongs into each file."""
    boards = {"operators": operators(), "fairness": fairness()}
    return {
        FOLDER / f"{name}.json": json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
        for name, board in boards.items()
    }


def main() -> None:
    for path, text in written().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
