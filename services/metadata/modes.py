"""What a transaction is for."""

from __future__ import annotations

from enum import Enum, auto


class Mode(Enum):
    """What a transaction may do; those that write run one at a time."""

    READ = auto()
    WRITE = auto()
    MIGRATE = auto()
    """Change the tables, which takes as long as it takes."""
