"""What the suites about content stores share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stowage.services.content.protocol import ContentStore
from stowage.services.oci.digest import Digest

CONTENT = b"what a blob holds " * 1000
DIGEST = Digest.of(CONTENT)
KEY = str(DIGEST)
PROJECT = Path(__file__).parents[2]

OPENER = """
import sys
from pathlib import Path
from stowage.services.content.filesystem import FilesystemStore
from tests.buckets import open_recorded

"""
WRITER = (
    OPENER
    + """
with {opened}.ingest(sys.argv[1]) as ingest:
    ingest.write(sys.stdin.buffer.read(int(sys.argv[2])))
    print("written", flush=True)
    sys.stdin.buffer.read(1)
    print(ingest.commit(), flush=True)
"""
)


@dataclass(frozen=True)
class Backend:
    """A store, and the expression that opens it in another process."""

    store: ContentStore
    opened: str

    @contextmanager
    def writer(self, key: str, content: bytes) -> Iterator[subprocess.Popen[bytes]]:
        """Another process that has written this content to an ingest, and commits it after one more byte."""
        script = WRITER.format(opened=self.opened)
        arguments = [sys.executable, "-c", script, key, str(len(content))]
        process = subprocess.Popen(arguments, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        with process:
            process.stdin.write(content)
            process.stdin.flush()
            assert process.stdout.readline() == b"written\n"
            yield process
            process.kill()


def put(store: ContentStore, content: bytes) -> Digest:
    with store.ingest("put") as ingest:
        ingest.write(content)
        return ingest.commit()


def write_and_commit(store: ContentStore, key: str, digest: Digest | None = None, size: int | None = None) -> None:
    """Write CONTENT and commit it as what the caller says it is."""
    with store.ingest(key, waiting=give_up) as ingest:
        ingest.write(CONTENT)
        ingest.keep()
        ingest.commit(digest, size)


def give_up() -> None:
    raise InterruptedError


def leave_partial(store: ContentStore, key: str, content: bytes) -> None:
    with store.ingest(key) as ingest:
        ingest.write(content)
        ingest.keep()


def assert_holds(store: ContentStore, *contents: bytes) -> None:
    """The store has these blobs, whole, and nothing else."""
    assert dict(store.blobs()) == {Digest.of(content): len(content) for content in contents}
    for content in contents:
        assert store.read(Digest.of(content)) == content
    assert list(store.partials()) == []
    assert list(store.unnamed(0)) == []
