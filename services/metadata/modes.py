"""What a transaction is for."""

from __future__ import annotations

from enum import Enum, auto


class Mode(Enum):
    """What a transaction may do; those that write run one at a time, except those aside."""

    READ = auto()
    WRITE = auto()
    ASIDE = auto()
    """Change rows that may be lost, and that no other transaction reads for what it changes."""
    MIGRATE = auto()
    """Change the tables, which takes as long as it takes."""
