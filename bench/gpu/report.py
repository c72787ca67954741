"""The summary of bench/gpu.sh as text: what became of every part, and the tables of what was measured."""

import csv
import io


def columns(rows, heads):
    """Rows of texts below heads, aligned; the first column to the left."""
    lines = [heads, *rows]
    widths = [max(len(str(line[i])) for line in lines) for i in range(len(heads))]
    return [
        "  ".join(
            str(cell).ljust(width) if i == 0 else str(cell).rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths))
        )
        for line in lines
    ]


def microseconds(seconds):
    """A time as text, "-" for none."""
    return "-" if seconds is None else f"{seconds * 1e6:,.1f}"


def ratio(peer, ours):
    """How many times faster ours is."""
    return "-" if not peer or not ours else f"{peer / ours:.2f} x"


def kernel_table(results):
    """The kernels beside the card's own limits and torch."""
    limits = next((found for found in results if found.get("what") == "limits"), {})
    rows = []
    for found in results:
        if found.get("what") != "kernel":
            continue
        ours, torch, name = found.get("seconds"), found.get("torch"), found["row"]
        if not ours:
            rows.append([name, found.get("error", "failed")[:60], "", "", "", "", "", ""])
            continue
        bandwidth, rate = found["bytes"] / ours, found["flops"] / ours
        share = bandwidth / limits["copy"] if limits.get("copy") else None
        of_peak = rate / limits["fp32"] if limits.get("fp32") else None
        rows.append(
            [name[:64], found.get("compute", ""), microseconds(ours), microseconds(torch), ratio(torch, ours)]
            + [f"{bandwidth / 1e9:,.0f}", "-" if share is None else f"{share:.0%}"]
            + ["-" if of_peak is None else f"{rate / 1e12:.1f} ({of_peak:.0%})"]
        )
    heads = ["kernel", "compute", "us", "torch us", "faster", "GB/s", "of copy", "TFLOP/s (of torch's fp32 GEMM)"]
    about = (
        [f"copy {limits['copy'] / 1e9:,.0f} GB/s, torch's GEMM {limits['fp32'] / 1e12:.1f} TFLOP/s"] if limits else []
    )
    return about + columns(rows, heads) if rows else []


def step_table(results):
    """The training steps: one line a network, one column a contender."""
    found = [result for result in results if result.get("what") == "step"]
    contenders = list(dict.fromkeys(result["contender"] for result in found))
    rows = []
    for job in dict.fromkeys(result["job"] for result in found):
        by_name = {result["contender"]: result for result in found if result["job"] == job}
        cells = []
        for name in contenders:
            result = by_name.get(name, {})
            cells.append(microseconds(result.get("seconds")) if not result.get("error") else "failed")
        rows.append([job, *cells])
    errors = [f"{r['job']}, {r['contender']}: {r['error'][:150]}" for r in found if r.get("error")]
    return columns(rows, ["step, us", *contenders]) + errors if rows else []


STEPS_WANTED = {"torch eager": 5.0, "torch compile": 1.2}  # of the seed MLP at batch 32, times as fast


def step_targets(results):
    """The targets for training steps, in the form of targets.py, from the steps that were timed."""
    times = {r["contender"]: r.get("seconds") for r in results if r.get("job") == "seed MLP, batch 32"}
    return [
        {"name": "seed MLP, batch 32", "reached": times[peer] / times["fastnn"], "wanted": wanted, "of": peer}
        for peer, wanted in STEPS_WANTED.items()
        if times.get(peer) and times.get("fastnn")
    ]


def target_table(results):
    """The targets: what was reached, what was wanted, and whether that is met."""
    rows = []
    for found in results:
        if "error" in found:
            rows.append([found["name"], found["error"][:60], "", "", "failed"])
            continue
        is_share = found["of"] == "copy"
        reached, wanted = (f"{found[k]:.0%}" if is_share else f"{found[k]:.2f} x" for k in ("reached", "wanted"))
        rows.append(
            [
                found["name"][:64],
                found["of"],
                reached,
                wanted,
                "met" if found["reached"] >= found["wanted"] else "MISSED",
            ]
        )
    return columns(rows, ["target", "of", "reached", "wanted", ""]) if rows else []


def rank_table(results):
    """All-reduces of ranks that share the card."""
    rows = [
        [f"{found['ranks']} ranks, {found['count']:,} floats", microseconds(found["seconds"])]
        + ["yes" if found["right"] else "NO"]
        for found in results
    ]
    return columns(rows, ["all_reduce on one card", "us", "right"]) if rows else []


def ncu_table(output):
    """Nsight Compute's CSV as one line a launch."""
    start = output.find('"ID"')
    if start < 0:
        return []
    launches, names = {}, []
    for row in csv.DictReader(io.StringIO(output[start:])):
        if not row.get("Metric Name"):
            continue
        name, value = row["Metric Name"], row["Metric Value"]
        launches.setdefault((row["ID"], row["Kernel Name"][:70]), {})[name] = f"{value} {row['Metric Unit']}"
        names += [name] if name not in names else []
    rows = [[kernel, *(values.get(name, "-") for name in names)] for (_, kernel), values in launches.items()]
    return columns(rows, ["kernel", *(name.split(".")[0].split("__")[1] for name in names)]) if rows else []


def failure(outcome):
    """The last lines of a part that did not go well."""
    lines = [line for line in outcome.output.splitlines() if line.strip() and not line.startswith("{")]
    return [f"--- {outcome.name}: {outcome.state}, {outcome.reason}", *(line[:200] for line in lines[-25:])]


def summary(about, outcomes):
    """All of it."""
    lines = [f"{key}: {value}" for key, value in about.items()] + [""]
    rows = [[outcome.name, outcome.state, f"{outcome.seconds:.0f} s", outcome.reason] for outcome in outcomes]
    lines += columns(rows, ["part", "state", "took", ""])
    by_name = {outcome.name: outcome for outcome in outcomes}
    for name, make in (("kernels", kernel_table), ("steps", step_table)):
        if name in by_name:
            lines += ["", *make(by_name[name].results)]
    measured = {name: by_name[name].results for name in ("targets", "steps", "ranks") if name in by_name}
    lines += ["", *target_table(measured.get("targets", []) + step_targets(measured.get("steps", [])))]
    lines += ["", *rank_table(measured.get("ranks", []))]
    if "ncu" in by_name:
        lines += ["", *ncu_table(by_name["ncu"].output)]
    if "registers" in by_name and by_name["registers"].output:
        lines += ["", *by_name["registers"].output.splitlines()]
    for outcome in outcomes:
        if outcome.state != "ok":
            lines += ["", *failure(outcome)]
    return "\n".join(lines) + "\n"
