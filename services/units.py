"""Amounts as Docker's CLI writes them.

Source: docker/go-units size.go (HumanSize, four digits); Go's time.Duration.String, in whole seconds.
"""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def human_size(count: int) -> str:
    """A number of bytes, in decimal units: `12.3MB`."""
    amount = float(count)
    for unit in _UNITS[:-1]:
        if amount < 1000:
            return f"{amount:.4g}{unit}"
        amount /= 1000
    return f"{amount:.4g}{_UNITS[-1]}"


def human_seconds(seconds: int) -> str:
    """A duration: `34s`, `5m12s`, `1h0m5s`."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest}s"
