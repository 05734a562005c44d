"""Types of columns that differ between databases; migrations use them too."""

from __future__ import annotations

from sqlalchemy import Text

TEXT = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is compared by its bytes, as by SQLite: ranges of names and digests would be wrong in the order of a language."""
