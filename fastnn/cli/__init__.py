"""The command line: ``fastnn train | bench | info | run``. Each command is a module with ``add_parser`` and ``run``."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import NoReturn

COMMANDS = ("train", "bench", "info", "run")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that complains in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}. See {self.prog} --help.\n")


def main(argv: list[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the arguments after the program's name; None takes those of the process.

    Returns:
        0 if it worked, 2 if an argument, a file or the installation was wrong, 1 if training failed, 130 after Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        args = build_parser(argv).parse_args(argv)
        return int(args.run(args))
    except SystemExit as done:  # argparse's, after --help or a complaint
        return done.code if isinstance(done.code, int) else 2
    except (ValueError, TypeError, OSError, ImportError) as error:
        return _complain(error, 2)
    except FloatingPointError as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        print("fastnn: interrupted", file=sys.stderr)
        return 130


def _complain(error: Exception, code: int) -> int:
    """Print one line, which says once that it comes from fastnn; returns the exit code."""
    text = str(error)
    print(text if text.startswith("fastnn") else f"fastnn: {text}", file=sys.stderr)
    return code


def build_parser(argv: list[str]) -> argparse.ArgumentParser:
    """The parser of ``argv``. Only the command's own module is imported, so that no command waits for another's."""
    from fastnn import __version__

    description = "Train neural networks fast on the machine at hand."
    parser = Parser(prog="fastnn", description=description)
    parser.add_argument("--version", action="version", version=f"fastnn {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="{" + ",".join(COMMANDS) + "}")
    wanted = [name for name in COMMANDS if name in argv[:1]] or COMMANDS
    for name in wanted:
        importlib.import_module(f"fastnn.cli.{name}").add_parser(subparsers)
    return parser
