"""`justitia`: the commands, each in a module of its own."""

import argparse
import importlib
import sys
from collections.abc import Sequence

COMMANDS = (
    "serve_command",
    "top_command",
    "keys_command",
    "demo.command",
    "replay.command",
    "train_command",
    "predictor_command",
    "clock_command",
    "settings_command",
)
"""Modules with `add_parser(subparsers)`. `engine` stands apart: all that follows it is vLLM's."""


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["engine"]:
        from gateway import engine_command

        return engine_command.run(arguments[1:])
    args = _parser().parse_args(arguments)
    return int(args.run(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="justitia",
        description="Fair, fast scheduling of LLM applications in front of vLLM.",
        epilog="example:\n  justitia demo --keep",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in COMMANDS:
        importlib.import_module(f"gateway.{name}").add_parser(subparsers)
    subparsers.add_parser(
        "engine", help="start vLLM with Justitia's scheduler (justitia engine --help)", add_help=False
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
