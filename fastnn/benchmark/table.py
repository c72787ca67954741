"""Tables of measured rows, as text."""

import re
from collections.abc import Sequence

from fastnn.benchmark.limits import Limits


def matches(name: str, pattern: str) -> bool:
    """Whether a row's name contains every word of `pattern`. Of numbers only whole ones count: 8 isn't in 128."""
    return all(re.search(_whole_numbers(word), name, re.IGNORECASE) for word in pattern.split())


def _whole_numbers(word: str) -> str:
    before, after = r"(?<!\d)" * word[0].isdigit(), r"(?!\d)" * word[-1].isdigit()
    return before + re.escape(word) + after


def text(header: Sequence[str], rows: Sequence[Sequence[str]], markdown: bool = False) -> str:
    """Columns of equal width, the first flush left, the others flush right.

    Args:
        header: the columns' names.
        rows: as many words each.
        markdown: bars between the columns, for a page of documentation.
    """
    widths = [max(len(line[column]) for line in (header, *rows)) for column in range(len(header))]
    lines = [
        [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))]
        for line in (header, *rows)
    ]
    if not markdown:
        return "\n".join("  ".join(line).rstrip() for line in lines)
    rule = ["-" * width if column == 0 else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


KERNEL_HEADER = ("kernel", "time", "GB/s", "GFLOP/s", "share of limit", "bound by")


def kernel_row(name: str, seconds: float, flops: float, moved: float, footprint: float, limits: Limits) -> list[str]:
    """One line of the table of kernels."""
    share = limits.share(seconds, flops, moved, footprint)
    return [
        name,
        duration(seconds),
        f"{moved / seconds / 1e9:.1f}",
        f"{flops / seconds / 1e9:.1f}",
        f"{share:.0%}",
        bound_by(flops, moved, footprint, limits),
    ]


def bound_by(flops: float, moved: float, footprint: float, limits: Limits) -> str:
    """What the machine needs the most time for: "arithmetic", "memory" or "cache"."""
    if flops / limits.flops >= moved / limits.bandwidth(footprint):
        return "arithmetic"
    return "memory" if limits.bandwidth(footprint) < 1.5 * limits.bandwidth(max(limits.copy)) else "cache"


def duration(seconds: float) -> str:
    """Three digits with a unit that suits: "12.3 us"."""
    rounded = float(f"{seconds:.3g}")  # 0.9999 ms is 1 ms, not 1e+03 us
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if rounded >= size:
            return f"{seconds / size:.3g} {unit}" if seconds < 1000 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds * 1e6:.3g} us"


def rate(value: float) -> str:
    """Three digits, or as many as a whole number needs: "12.3", "12,345"."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
