"""What an operation moves and how often it is interrupted, counted while it runs."""

from __future__ import annotations

import threading


class Tally:
    """The counts of one operation; any of its threads may add to them.

    `bytes` came from a registry or went to it. `reused` blobs of a pull were in the store, `fetched` ones were not. Transfers were tried
    again `retries` times, and `resumes` times one continued where an earlier one had stopped.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.bytes = self.reused = self.fetched = self.retries = self.resumes = 0

    def add(self, *, moved: int = 0, reused: int = 0, fetched: int = 0, retries: int = 0, resumes: int = 0) -> None:
        with self._lock:
            self.bytes += moved
            self.reused += reused
            self.fetched += fetched
            self.retries += retries
            self.resumes += resumes
