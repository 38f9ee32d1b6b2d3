"""`justitia settings`: every setting, its default and its meaning, as the table in docs/operations.md."""

import argparse
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from gateway.settings import Settings

_EXAMPLE = """example:
  justitia settings | less

A setting is given as a flag where there is one, as JUSTITIA_<GROUP>__<NAME> in the environment, or in a TOML file:
  [scheduling]
  policy = "justitia"
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "settings",
        help="list every setting with its default",
        description="Print every setting of the gateway as a Markdown table.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    print(settings_table())
    return 0


def settings_table() -> str:
    rows = ["| environment | default | meaning |", "|---|---|---|"]
    return "\n".join([*rows, *_rows()])


def _rows() -> Iterator[str]:
    for group, group_field in Settings.model_fields.items():
        model = group_field.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        for name, field in model.model_fields.items():
            default = field.get_default(call_default_factory=True, validated_data={})
            yield f"| `JUSTITIA_{group.upper()}__{name.upper()}` | {_shown(default)} | {field.description} |"


def _shown(default: Any) -> str:
    if default is None or default is PydanticUndefined or default in ((), {}):
        return "–"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
