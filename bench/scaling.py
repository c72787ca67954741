"""All-reduce beyond this machine: alpha and beta of measured times, checked against more ranks, and what follows.

    python bench/collectives.py --json build/shared2.json               (and -n 3, -n 4)
    python bench/tcp.py --json build/tcp2.json                          (and -n 3, -n 4)
    python bench/scaling.py --shared build/shared*.json --tcp build/tcp*.json [--page docs/scaling.md --plot FILE]

Two ranks give the costs of a message; those for more ranks follow from simulation.py, and are compared with what was
measured where the machine has so many. Needs `pip install '.[bench]'`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import simulation
from report import write_page
from simulation import Disturbance, Link, Memory

from fastnn.benchmark import table

SIZES = (4 << 10, 64 << 10, 1 << 20, 16 << 20, 100_000_000, 1_000_000_000)
RANKS = (8, 64, 512, 2048, 10_000)
PER_HOST = 8
CACHE = 16 << 20  # bytes
MOST_DISTURBED = 2048  # ranks
MOST_PIECES = 64  # of a tree, or 10,000 ranks take minutes
PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
NAMES = ("ring", "hierarchical", "tree", "double tree")


def main(argv=None):
    """Fit, check, simulate. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, nargs="+", required=True, help="files of collectives.py")
    parser.add_argument("--tcp", type=Path, nargs="+", required=True, help="files of tcp.py")
    parser.add_argument("--ranks", type=int, nargs="*", default=RANKS)
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the tables into it")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    shared, tcp = (load(files) for files in (args.shared, args.tcp))
    links = fit_all(shared, tcp)
    times = simulate(args.ranks, SIZES, links["TCP"], links["shared memory"])
    tables = {
        "links": links_table(links, shared, tcp),
        "check": check_table(links, shared, tcp),
        "winners": winners_table(times),
        "times": times_table(times),
        "disturbed": disturbed_table(
            [count for count in args.ranks if count <= MOST_DISTURBED], links["TCP"], links["shared memory"]
        ),
    }
    print("\n\n".join(tables.values()))
    if args.page:
        write_page(args.page, tables)
    if args.plot:
        draw(times, args.plot)
    return 0


def load(files):
    """{ranks: {contender: {size: seconds}}}, with the number of CPUs as "cpus"."""
    found = {}
    for file in files:
        text = json.loads(file.read_text())
        times = {name: {int(size): seconds for size, seconds in of.items()} for name, of in text["seconds"].items()}
        found[text["ranks"]] = {**times, "cpus": text["cpus"]}
    return found


def fit(sizes, seconds):
    """(a, b) of seconds = a + b * size with the least sum of squares of relative errors; neither is negative."""
    x, y = np.asarray(sizes, float), np.asarray(seconds, float)
    a, b = np.linalg.lstsq(np.stack([1 / y, x / y], 1), np.ones(len(x)), rcond=None)[0]
    if a < 0:  # then the best a that may be is 0
        a, b = 0.0, (x / y).sum() / ((x / y) ** 2).sum()
    return float(a), float(b)


def fit_ring(times):
    """The link of a ring of two: an all-reduce is two messages of half the array each."""
    a, b = fit(list(times), list(times.values()))
    return Link(a / 2, b)


def fit_memory(times):
    """Arrays of up to 16 MB lie in the caches of this machine, larger ones in memory: one beta fits not both."""
    near = {size: took for size, took in times.items() if size <= CACHE}
    a, b = fit(list(near), list(near.values()))
    far = [(size - CACHE, took - a - b * CACHE) for size, took in times.items() if size > CACHE]
    beyond = np.median([took / size for size, took in far]) if far else b
    return Memory(a, b, CACHE, float(beyond))


def fit_all(shared, tcp):
    """{what: Link}, all from two ranks: of the ring over TCP, of that over shared memory, and of the direct push."""
    return {
        "TCP": fit_ring(tcp[2]["fastnn"]),
        "ring over shared memory": fit_ring(shared[2]["ring"]),
        "shared memory": fit_memory(shared[2]["mapped"]),
    }


def shared_cores(link, ranks, cpus):
    """The link where more ranks than CPUs take turns: messages are copied by the CPUs, and take as much longer."""
    return link.scaled(max(1.0, ranks / cpus))


def predicted(what, ranks, size, links, cpus):
    """Seconds that the model gives for this machine."""
    link = shared_cores(links[what], ranks, cpus)
    return link.time(size) if what == "shared memory" else simulation.ring(ranks, size, link)


def _measured(what, shared, tcp):
    """(which files, which contender of them) a link was fitted to."""
    name = {"TCP": "fastnn", "ring over shared memory": "ring", "shared memory": "mapped"}[what]
    return (tcp if what == "TCP" else shared), name


def links_table(links, shared, tcp):
    rows = []
    for what, link in links.items():
        files, name = _measured(what, shared, tcp)
        cpus, times = files[2]["cpus"], files[2][name]
        worst = max(abs(predicted(what, 2, size, links, cpus) / took - 1) for size, took in times.items())
        speed = f"{1e-9 / link.beta:.2f} GB/s"
        speed += f", beyond 16 MB {1e-9 / link.beyond:.2f}" if isinstance(link, Memory) else ""
        rows.append((what, table.duration(link.alpha), speed, f"{worst:.0%}"))
    return table.text(("link", "alpha", "1 / beta", "farthest of a measured time"), rows, markdown=True)


def check_table(links, shared, tcp):
    rows = []
    for what in links:
        files, name = _measured(what, shared, tcp)
        for ranks in sorted(files):
            for size, took in files[ranks][name].items():
                model = predicted(what, ranks, size, links, files[ranks]["cpus"])
                cells = (f"{size:,}", table.duration(took), table.duration(model), f"{model / took:.2f}")
                rows.append((f"{what}, {ranks} ranks", *cells))
    return table.text(("", "bytes", "measured", "model", "model / measured"), rows, markdown=True)


def simulate(ranks, sizes, network, local, disturb=Disturbance):
    """{(size, ranks): {algorithm: seconds}}; `disturb` makes a Disturbance anew for each."""
    found = {}
    for size in sizes:
        for count in ranks:
            pieces = [
                min(MOST_PIECES, number(count, size, network))
                for number in (simulation.tree_pieces, simulation.double_tree_pieces)
            ]
            found[size, count] = {
                "ring": simulation.ring(count, size, network, disturb()),
                "hierarchical": simulation.hierarchical(count, size, network, local, PER_HOST, disturb()),
                "tree": simulation.tree(count, size, network, disturb(), pieces[0]),
                "double tree": simulation.double_tree(count, size, network, disturb(), pieces[1]),
            }
    return found


def winners_table(times):
    """Who is the fastest, and how much slower the next one is."""
    sizes, ranks = ([*dict.fromkeys(key[i] for key in times)] for i in (0, 1))
    rows = []
    for size in sizes:
        cells = []
        for count in ranks:
            (_, best), (second, other) = sorted((took, name) for name, took in times[size, count].items())[:2]
            cells.append(f"{best}, {other} {second / times[size, count][best]:.2f} x")
        rows.append((f"{size:,}", *cells))
    return table.text(("bytes", *(f"{count:,} ranks" for count in ranks)), rows, markdown=True)


def times_table(times):
    rows = [
        (f"{size:,}", f"{count:,}", *(table.duration(took[name]) for name in NAMES))
        for (size, count), took in times.items()
    ]
    return table.text(("bytes", "ranks", *NAMES), rows, markdown=True)


def disturbed_table(ranks, network, local):
    """How many times as long it takes where ranks aren't alike."""
    size = 16 << 20
    plain = simulate(ranks, [size], network, local)
    rows = []
    for what, disturb in (
        ("messages late by alpha on average", lambda: Disturbance(noise=network.alpha)),
        ("messages late by 1 ms on average", lambda: Disturbance(noise=1e-3)),
        ("one rank half as fast", lambda: Disturbance(slow={3: 2.0})),
    ):
        for count in ranks:
            found = simulate([count], [size], network, local, disturb)[size, count]
            rows.append((f"{what}, {count:,} ranks", *(f"{found[n] / plain[size, count][n]:.2f} x" for n in NAMES)))
    return table.text((f"{size:,} bytes", *NAMES), rows, markdown=True)


def draw(times, path):
    """A panel for each size: seconds over ranks, both logarithmic."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "fastnn", "font.size": 9}
    from matplotlib import pyplot

    sizes = [*dict.fromkeys(size for size, _ in times)]
    figure, panels = pyplot.subplots(2, 3, figsize=(9, 5.4), layout="constrained", sharex=True)
    for panel, size in zip(panels.flat, sizes):
        counts = [count for of, count in times if of == size]
        for name, style in zip(NAMES, ("o-", "s-", "^--", "v-")):
            panel.plot(counts, [times[size, count][name] for count in counts], style, markersize=3, label=name)
        panel.set(xscale="log", yscale="log", title=f"{size:,} bytes")
        panel.grid(alpha=0.3)
        panel.minorticks_off()
    for panel in panels[-1]:
        panel.set_xlabel("ranks")
    for panel in panels[:, 0]:
        panel.set_ylabel("seconds")
    panels[0, 0].legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    raise SystemExit(main())
