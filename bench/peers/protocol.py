"""What every peer's process does: builds one contender of one contest, then times it whenever it is told to.

A peer is a script that ends in `serve(name, tasks)`. `tasks` maps the name of a contest's task to (variants, build):
`build(variant, **parameters)` returns `run`, and `run()` does the whole job once, results computed and not only queued.
A `run` that returns a number says itself how many seconds count (a warm-up inside it, say, doesn't).

Lines of JSON on stdin, one JSON line each as the answer:
  {"do": "hello"}                                     -> {"name": ..., "tasks": {task: [variants]}}
  {"do": "prepare", "task", "variant", "parameters"}  -> {"ready": true}
  {"do": "measure", "seconds"}                        -> {"seconds": of one run, "runs": how many, "peak_mb": memory}
Anything that goes wrong is answered by {"error": text}.
"""

import json
import os
import resource
import sys
from pathlib import Path
from time import perf_counter

_LONG = 10  # a run that takes so many times as long as it should has warmed up by itself


def serve(name, tasks):
    """Answers the lines on stdin until they end. What the peer prints itself goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    run = None
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if order["do"] == "hello":
                answer = {"name": name, "tasks": {task: list(variants) for task, (variants, _) in tasks.items()}}
            elif order["do"] == "prepare":
                run = tasks[order["task"]][1](order["variant"], **order["parameters"])
                run()  # what happens only once: allocation, compilation, threads
                answer = {"ready": True}
            else:
                answer = measure(run, order["seconds"])
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(answer), file=answers)


def measure(run, seconds):
    """Repeats `run` for about `seconds`, after half as long to warm up, and returns the mean seconds of one."""
    count, spent = 1, timed([run])
    while 2 * spent < seconds:  # the system may first have put all threads on one core
        count = 2 * count
        spent = timed([run] * count)
    if spent < _LONG * seconds:
        count = max(1, round(count * seconds / max(spent, 1e-9)))
        spent = timed([run] * count)
    return {"seconds": spent / count, "runs": count, "peak_mb": peak_memory()}


def timed(runs):
    """The seconds of all the runs together: by the clock, or the runs' own figures if they return them."""
    start = perf_counter()
    own = [run() for run in runs]
    return sum(own) if own and isinstance(own[0], float) else perf_counter() - start


def peak_memory():
    """The most memory this process had, in MB. (Linux's ru_maxrss begins with what the parent had.)"""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
