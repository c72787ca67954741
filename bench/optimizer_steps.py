"""The table of optimizer steps: fastnn through each of its ways in, and beside it each framework's own step."""

from words import times

from fastnn.benchmark import contest, table

_WAYS = ("functional", "torch", "jax")
_LIMIT = "in-place"


def steps_table(run, markdown):
    """A line for each contest: times of fastnn's ways, their share of the in-place scale, and the others' times.

    Args:
        run: {contest: {contender: entries, the fastest first}}.
    """
    ours = next(iter(next(iter(run.values()))))
    others = list(dict.fromkeys(name for forms in run.values() for name in forms if name not in (ours, _LIMIT)))
    lines = []
    for name, forms in run.items():
        own = {entry["variant"]: entry for entry in forms[ours]}
        limit = forms[_LIMIT][0]["rate"] if _LIMIT in forms else None
        cells = [_own(own.get(way), limit) for way in _WAYS]
        cells += [f"{limit:.1f} GB/s" if limit else "", *(_others(forms.get(other), own) for other in others)]
        lines.append([name, *cells])
    header = ["step", *(f"fastnn.{way}" for way in _WAYS), "in-place scale", *others]
    return table.text(header, lines, markdown)


def _time(entry):
    return table.duration(entry["amount"] / entry["rate"])


def _own(entry, limit):
    """ "13.1 ms, 53.4 GB/s, 93%": the time, the rate, and what of the in-place scale's rate it is."""
    if entry is None:
        return ""
    share = f", {entry['rate'] / limit:.0%}" if limit else ""
    return f"{_time(entry)}, {table.rate(entry['rate'])} GB/s{share}"


def _others(entries, own):
    """ "fused 13.8 ms, 1.05 x; ...": how many times as fast fastnn is in the same framework."""
    cells = []
    for entry in entries or ():
        beside = own.get(contest.BESIDE.get(entry["peer"]), max(own.values(), key=lambda other: other["rate"]))
        cells.append(f"{entry['variant']} {_time(entry)}, {times(beside['rate'] / entry['rate'])}")
    return "; ".join(cells)
