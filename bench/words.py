"""Figures in words, for the tables of results."""

from fastnn.benchmark import table


def times(ratio):
    """ "4.25 x", "109 x"."""
    return f"{ratio:.2f} x" if ratio < 10 else f"{ratio:.0f} x"


def beside(entries, own):
    """Rates of a contender's forms, and how many times as fast fastnn's own is: "136 mm, 1.50 x; ..."."""
    cells = [
        f"{table.rate(entry['rate'])} {entry['variant']}, {times(own['rate'] / entry['rate'])}" for entry in entries
    ]
    return "; ".join(cells)
