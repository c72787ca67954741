"""Where the time of a captured step goes, kernel by kernel: `python bench/steps.py [--filter MLP] [--json FILE]`.

A step is recorded again and again, up to its first kernel, its second, ...; a kernel's time is what it adds to the
replay of those before it: measured where it stands, with its barrier and with what the others left in the caches.
"""

import argparse
import json
import sys
import types
from pathlib import Path
from time import perf_counter
from unittest import mock

import numpy as np

import fastnn
from fastnn import _backend
from fastnn.benchmark import contest, contests, table
from fastnn.models import loops

NETWORKS = ("seed MLP, batch 1", "seed MLP, batch 32", "CNN, batch 128")
_LEAST = 0.02
_REPLAYS = 5  # in a turn


def captured_step(job):
    """The captured steps of a contest's network, which has been trained for an epoch."""
    sys.path.insert(0, str(contest.peers_folder()))
    import ours  # which makes the networks

    found, capture = [], loops.capture

    def remember(*arguments):
        found.append(capture(*arguments))
        return found[-1]

    with mock.patch.object(loops, "capture", remember):
        getattr(ours, job.task)("fit", **job.parameters)()
    return found[0]


class Recorder:
    """Stands between Python and the kernels: counts their calls, and stops a tape before one of them."""

    def __init__(self):
        self.tape, self.count, self.names = None, 0, []
        functions = {name: f for name, f in vars(_backend.kernels).items() if isinstance(f, types.BuiltinFunctionType)}
        self.patch = mock.patch.multiple(
            _backend.kernels, **{name: self.counted(name, f) for name, f in functions.items()}
        )

    def counted(self, name, kernel):
        def call(*args, **options):
            if self.tape is not None and name == "end_batch" and len(self.names) >= self.count:
                self.tape.start()
            result = kernel(*args, **options)
            self.names.append(f"{name} {shape(args)}".strip())
            if self.tape is not None and len(self.names) == self.count:
                self.tape.stop()
            return result

        return call

    def record(self, captured, batch, count):
        """A tape of the first `count` kernels of a step and the last, which moves on to the next batch."""
        captured._position[0] = captured._slot[0] = 0
        self.tape, self.count, self.names = _backend.kernels.Tape(), count, []
        self.tape.start()
        try:
            captured._one_step(batch)
        finally:
            self.tape.stop()
            tape, self.tape = self.tape, None
        return tape


def shape(args):
    """That of the largest array among a kernel's arguments, numbers aside."""
    arrays = [arg for arg in args if isinstance(arg, np.ndarray) and arg.size > 1]
    return "x".join(map(str, max(arrays, key=lambda array: array.size).shape)) if arrays else ""


def replay_seconds(captured, tape, steps):
    """One step of a replay of `steps`, all in the same epoch."""
    captured._position[0] = captured._slot[0] = 0
    start = perf_counter()
    tape.replay(steps)
    return (perf_counter() - start) / steps


def measure(job, seconds, repeats):
    """[(kernel, the seconds that it adds to a step)], in order."""
    batch, recorder = job.parameters["batch"], Recorder()
    with recorder.patch:  # from the beginning, for those who keep a kernel
        captured = captured_step(job)
        recorder.record(captured, batch, 10**6)
        names = recorder.names
        tapes = [recorder.record(captured, batch, count + 1) for count in range(len(names))]
    once = replay_seconds(captured, tapes[-1], 1)
    steps = max(1, min(job.steps, round(seconds / _REPLAYS / once)))
    best = [float("inf")] * len(tapes)  # what disturbs a replay makes it slower, never faster
    for _ in range(repeats):
        for number, tape in enumerate(tapes):
            best[number] = min(best[number], *(replay_seconds(captured, tape, steps) for _ in range(_REPLAYS)))
    return [(name, after - before) for name, before, after in zip(names, [0.0, *best], best)]


def steps_table(results, markdown=False):
    """A line for each kernel that takes 2 % of a step, one for all the others, one for the step."""
    lines = []
    for result in results:
        whole = sum(seconds for _, seconds in result["kernels"])
        large = [(name, seconds) for name, seconds in result["kernels"] if seconds >= _LEAST * whole]
        rest = whole - sum(seconds for _, seconds in large)
        for name, seconds in (*large, ("all others", rest), ("the whole step", whole)):
            lines.append((result["contest"], name, table.duration(seconds), f"{seconds / whole:.0%}"))
    return table.text(("step", "kernel, its largest array", "time", "share"), lines, markdown)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--filter", default="", metavar="WORDS")
    add("--threads", type=int, default=_backend.get_num_threads(), metavar="N")
    add("--seconds", type=float, default=0.1, help="how long a turn of a kernel is (default: 0.1)")
    add("--repeats", type=int, default=5, metavar="N", help="the best of how many turns is taken (default: 5)")
    add("--json", type=Path, metavar="FILE", help="write the results to a file too")
    args = parser.parse_args()
    fastnn.set_num_threads(args.threads)
    results = []
    for job in (job for job in contests.CONTESTS if job.name in NETWORKS and table.matches(job.name, args.filter)):
        found = measure(job, args.seconds, args.repeats)
        results.append({"contest": job.name, "threads": args.threads, "kernels": found})
    print(steps_table(results))
    if args.json:
        args.json.write_text(json.dumps({"steps": results}, indent=1))


if __name__ == "__main__":
    main()
