"""`fastnn run`: a program on several ranks of this host, or of several hosts."""

import argparse
import sys
from typing import Any

from fastnn import _check
from fastnn.distributed import supervisor

_NAME = "fastnn run"
_EXAMPLE = """examples:
  fastnn run -n 4 train.py --epochs 10                    four ranks on this host
  fastnn run -n 4 --max-restarts 3 train.py               all of them again, up to 3 times, when one fails
  fastnn run -n 4 --nnodes 2 --node-rank 0 --rendezvous node07:29500 train.py      on node07, and on the other host
  fastnn run -n 4 --nnodes 2 --node-rank 1 --rendezvous node07:29500 train.py      with one FASTNN_SECRET on both
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command ``run`` to the command line's parser."""
    text = "run a program on several ranks that train together"
    parser = subparsers.add_parser("run", help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=_EXAMPLE)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("-n", "--nproc", type=int, required=True, metavar="N", help="how many ranks on this host")
    add("--nnodes", type=int, default=1, metavar="N", help="how many hosts (default: 1)")
    add("--node-rank", type=int, default=0, metavar="K", help="the number of this host, from 0 (default: 0)")
    text = "where rank 0 waits for the others; needed with several hosts (default: any free port of this one)"
    add("--rendezvous", metavar="HOST:PORT", help=text)
    add("--max-restarts", type=int, default=0, metavar="N", help="how often to start anew after a failure (default: 0)")
    add("-m", "--module", action="store_true", help="the program is a module, as with python -m")
    add("program", help="a Python file, or a module with -m")
    add("arguments", nargs=argparse.REMAINDER, help="its arguments")
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Run the program. Returns 0 if all ranks ended well, otherwise the exit code of the first that failed."""
    _check.integer(_NAME, "--nproc", args.nproc, minimum=1)
    _check.integer(_NAME, "--nnodes", args.nnodes, minimum=1)
    _check.integer(_NAME, "--node-rank", args.node_rank, 0, args.nnodes - 1)
    _check.integer(_NAME, "--max-restarts", args.max_restarts, minimum=0)
    address, port = place(args.rendezvous)
    if args.nnodes > 1 and port == 0:
        _check.fail(_NAME, "--rendezvous", "HOST:PORT, where rank 0 waits", "nothing" if not port else args.rendezvous)
    command = [sys.executable, *(["-m"] if args.module else []), args.program, *args.arguments]
    return supervisor.run(
        supervisor.Job(command, args.nproc, args.nnodes, args.node_rank, address, port, args.max_restarts)
    )


def place(text: str | None) -> tuple[str, int]:
    """(host, port) of HOST:PORT; any port of this host without it."""
    if text is None:
        return "127.0.0.1", 0
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and int(port) < 65536):
        _check.fail(_NAME, "--rendezvous", "HOST:PORT", repr(text))
    return host, int(port)
