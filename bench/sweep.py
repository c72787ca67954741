"""Cost against size: microseconds a step at batches of 1 to 2048, seconds an epoch on 1,024 to 65,536 samples.

    python bench/sweep.py                          measure all in fastnn and, where it is installed, torch; draw
    python bench/sweep.py --filter "MLP batch"     measure one sweep (or a point of it: "MLP batch 32"), draw all

Prints for each curve how linear it is. Points are kept in --json and drawn from there. Needs `pip install '.[bench]'`.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastnn import _backend
from fastnn.benchmark import contest, contests, table

FORMS = {"mlp": "fused", "cnn": "channels_last"}  # of torch, one each
NAMES = {"ours": "fastnn", "torch": "torch"}
DOCS = Path(__file__).parents[1] / "docs"


@dataclass(frozen=True)
class Point:
    """One size of one sweep: `size` is a batch (the cost: seconds a step) or a number of samples (seconds an epoch)."""

    sweep: str
    size: int
    job: contests.Contest

    def cost(self, seconds):
        return seconds / self.job.steps if self.sweep.endswith("batch") else seconds


def points():
    """Steps enough to be timed, few enough that no turn takes long; the largest data sets don't fit into any cache."""
    for batch in (1 << power for power in range(12)):
        yield Point("MLP batch", batch, contests.mlp(batch, batch * max(10, min(512, 20480 // batch))))
        yield Point("CNN batch", batch, contests.cnn(batch, batch * max(2, min(256, 2048 // batch))))
    for samples in (1 << power for power in range(10, 17)):
        yield Point("MLP samples", samples, contests.mlp(32, samples))
        if samples <= 1 << 15:
            yield Point("CNN samples", samples, contests.cnn(128, samples))


def fit(sizes, costs):
    """The line `fixed + slope * size` with the least relative errors, and how good it is.

    Returns:
        fixed, slope; the largest relative distance of a point from the line; and the exponent p of cost ~ size^p over
        the upper half of the sizes, where the fixed part matters least (1 is linear).
    """
    x, y = np.asarray(sizes, float), np.asarray(costs, float)
    fixed, slope = np.linalg.lstsq(np.stack([1 / y, x / y], 1), np.ones(len(x)), rcond=None)[0]
    half = len(x) // 2
    exponent = np.polyfit(np.log(x[half:]), np.log(y[half:]), 1)[0]
    return fixed, slope, np.abs((fixed + slope * x) / y - 1).max(), exponent


def measure(chosen, threads, seconds, repeats):
    """Runs the points; yields a dict for each contender at each."""
    present, _ = contest.installed(NAMES, threads)
    for hello in present.values():
        tasks = hello["tasks"]
        hello["tasks"] = {task: [form] if form in tasks[task] else tasks[task][:1] for task, form in FORMS.items()}
    for point in chosen:
        for result in contest.run(point.job, present, threads, repeats, seconds):
            if result.error:
                raise RuntimeError(f"{result.contender}, {point.job.name}: {result.error}")
            cost = point.cost(result.median)
            print(f"{point.sweep} {point.size}: {NAMES[result.peer]} {table.duration(cost)}", flush=True)
            yield {"sweep": point.sweep, "size": point.size, "contender": NAMES[result.peer], "cost": cost}


def curves(results):
    """{(sweep, contender): (sizes, costs)}, sizes ascending."""
    found = {}
    for entry in sorted(results, key=lambda entry: entry["size"]):
        sizes, costs = found.setdefault((entry["sweep"], entry["contender"]), ([], []))
        sizes.append(entry["size"])
        costs.append(entry["cost"])
    return dict(sorted(found.items()))


def fits_table(found, markdown=False):
    header = ("sweep", "contender", "fixed", "each sample", "farthest from the line", "exponent, upper half")
    lines = []
    for (sweep, contender), (sizes, costs) in found.items():
        if len(sizes) > 2:
            fixed, slope, worst, exponent = fit(sizes, costs)
            sign = "-" if fixed < 0 else ""
            cells = (sign + table.duration(abs(fixed)), table.duration(slope), f"{worst:.0%}", f"{exponent:.2f}")
            lines.append((sweep, contender, *cells))
    return table.text(header, lines, markdown)


def draw(found, path):
    """One figure of two panels, both logarithmic; dotted: the lines that fit fastnn's points."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "fastnn", "font.size": 9}
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    labels = {"batch": ("batch size", "microseconds a step", 1e6), "samples": ("samples", "seconds an epoch", 1)}
    for panel, (kind, (xlabel, ylabel, unit)) in zip(panels, labels.items()):
        for (sweep, contender), (sizes, costs) in found.items():
            if not sweep.endswith(kind):
                continue
            costs, color = np.array(costs) * unit, "C0" if contender == "fastnn" else "C1"
            style = "o-" if sweep.startswith("MLP") else "s--"
            panel.plot(sizes, costs, style, color=color, markersize=3, label=f"{sweep.split()[0]}, {contender}")
            if contender == "fastnn" and len(sizes) > 2:
                fixed, slope, *_ = fit(sizes, costs)
                panel.plot(sizes, fixed + slope * np.array(sizes), ":", color="0.4", linewidth=1, zorder=3)
        panel.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
        panel.set_xscale("log", base=2)
        panel.xaxis.set_major_formatter("{x:.0f}")
        panel.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--filter", default="", metavar="WORDS", help='only these points; "nothing" only draws')
    add("--threads", type=int, default=_backend.get_num_threads(), metavar="N")
    add("--seconds", type=float, default=0.2, help="how long a turn is (default: 0.2)")
    add("--repeats", type=int, default=3, metavar="N", help="the median of how many turns is taken (default: 3)")
    add("--json", type=Path, default=Path("build/sweep.json"), metavar="FILE", help="(default: build/sweep.json)")
    add("--plot", type=Path, default=DOCS / "sweep.svg", metavar="FILE", help="(default: docs/sweep.svg)")
    args = parser.parse_args()
    args.json.parent.mkdir(exist_ok=True)
    results = json.loads(args.json.read_text())["points"] if args.json.exists() else []
    kept = {(entry["sweep"], entry["size"], entry["contender"]): entry for entry in results}
    chosen = [point for point in points() if table.matches(f"{point.sweep} {point.size}", args.filter)]
    for entry in measure(chosen, args.threads, args.seconds, args.repeats):
        kept[entry["sweep"], entry["size"], entry["contender"]] = entry
        args.json.write_text(json.dumps({"points": list(kept.values())}, indent=1))
    found = curves(kept.values())
    print(fits_table(found))
    draw(found, args.plot)


if __name__ == "__main__":
    main()
