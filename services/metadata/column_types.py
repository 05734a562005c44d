"""Types of columns that differ between databases; migrations use them too."""

from __future__ import annotations

from sqlalchemy import Text

TEXT = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is compared by its bytes, as by SQLite: ranges of names and digests would be wrong in the order of a language."""
_INT64 = (1 << 63) - 1


def bounded(number: int) -> int:
    """A number as a column of 64 bits keeps and compares it: what is beyond these is the last one. Year 1 is, in nanoseconds since 1970."""
    return max(-_INT64, min(number, _INT64))
