"""What an operation costs, counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Costs:
    """Write transactions, syncs of files and folders, and blobs that were opened."""

    transactions: int = 0
    syncs: int = 0
    opened: int = 0
