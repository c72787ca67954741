"""``model.summary()``: what a model is made of, as a table."""

from collections.abc import Callable
from typing import Any

_HEAD = ("Layer (type)", "Output shape", "Param #")


def summary_text(model: Any, line_length: int | None = None) -> str:
    """The table: a row a layer, then the totals in numbers and in memory (4 bytes each)."""
    rows = [
        (f"{layer.name} ({type(layer).__name__})", str((None, *layer.output_shape)), f"{layer.count_params():,}")
        for layer in model.layers
    ]
    widths = [max(len(row[i]) for row in (_HEAD, *rows)) + 2 for i in range(3)]
    if line_length is not None:
        widths[1] = max(widths[1], line_length - widths[0] - widths[2])
    total, trained = model.count_params(), sum(p.size for p in model.trainable_parameters)
    rule = "─" * sum(widths)
    lines = [f'Model: "{model.name}"', rule, _line(_HEAD, widths), rule]
    lines += [_line(row, widths) for row in rows]
    lines += [rule, f"Total params: {total:,} ({_memory(total)})"]
    lines += [f"Trainable params: {trained:,} ({_memory(trained)})"]
    lines += [f"Non-trainable params: {total - trained:,} ({_memory(total - trained)})"]
    return "\n".join(lines)


def print_summary(model: Any, line_length: int | None, print_fn: Callable[[str], Any] | None) -> None:
    """Hand the table to ``print_fn``, print by default."""
    (print_fn or print)(summary_text(model, line_length))


def _line(cells: tuple[str, str, str], widths: list[int]) -> str:
    return f"{cells[0]:<{widths[0]}}{cells[1]:<{widths[1]}}{cells[2]:>{widths[2]}}"


def _memory(count: int) -> str:
    size = 4.0 * count
    for unit in ("B", "KB", "MB"):
        if size < 1024:
            return f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} GB"
