"""Copying the blobs of a store: each is read once, hashed on the way, and appears in the target only if it is whole."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from threading import Lock
from typing import BinaryIO

from stowage.services.content.bucket import PART_BYTES
from stowage.services.content.bucket_errors import Denied
from stowage.services.content.copy_targets import CopyTarget
from stowage.services.content.errors import storage_errors
from stowage.services.content.protocol import ContentStore
from stowage.services.errors import BlobNotFound, EngineError, InvalidContent, Unavailable
from stowage.services.oci.digest import Digest, Digester
from stowage.services.progress import Advance

_SHOW_SECONDS = 0.2


def copy_blobs(
    source: ContentStore, target: CopyTarget, blobs: Mapping[Digest, int], copied: Mapping[Digest, int], *, at_once: int, advance: Advance
) -> Iterator[str]:
    """Copy these blobs, of these sizes, unless they are in `copied` with the right one; yields a sentence for each that is damaged.

    Sends `at_once` blobs at a time, each with a few parts of 8 MiB in memory. `advance` is called with bytes, by this thread. Raises
    what the target raises, and what a bucket raises that cannot be read for a while; then the other blobs are given up too.
    """
    missing = iter([(digest, size) for digest, size in sorted(blobs.items()) if copied.get(digest) != size])
    total = sum(blobs.values())
    run = _Run(source, target, sum(size for digest, size in blobs.items() if copied.get(digest) == size))
    running: set[Future[str]] = set()
    with ThreadPoolExecutor(at_once, thread_name_prefix="copy") as threads:
        try:
            while True:
                while len(running) < at_once and (blob := next(missing, None)):
                    running.add(threads.submit(run.copy, *blob))
                if not running:
                    return
                ended, running = wait(running, _SHOW_SECONDS, FIRST_COMPLETED)
                advance(min(run.done, total), total)
                yield from filter(None, [each.result() for each in ended])
        finally:
            run.is_given_up = True


class _GivenUp(Exception):
    """Another blob could not be copied, or the command is to end."""


class _Run:
    """What the threads of one copy share: `done` is the number of bytes that are copied."""

    def __init__(self, source: ContentStore, target: CopyTarget, done: int) -> None:
        self._source, self._target = source, target
        self._counting = Lock()
        self.done = done
        self.is_given_up = False

    def copy(self, digest: Digest, size: int) -> str:
        """Copy a blob; returns what is wrong with it, if anything is."""
        problems: list[str] = []
        with closing(self._parts(digest, size, problems)) as parts:
            try:
                self._target.put(digest, size, parts)
            except Exception:
                if not problems:
                    raise
        return "".join(problems)

    def _parts(self, digest: Digest, size: int, problems: list[str]) -> Generator[bytes]:
        """The bytes of a blob. Raises, and notes a problem, if they are not those that its digest and size promise."""
        try:
            yield from self._verified(digest, size)
        except (Unavailable, Denied):
            raise
        except BlobNotFound:
            problems.append(f"blob {digest} is missing")
            raise
        except InvalidContent as exc:
            problems.append(f"blob {digest} {exc}")
            raise
        except EngineError as exc:
            problems.append(f"blob {digest} cannot be read: {exc}")
            raise

    def _verified(self, digest: Digest, size: int) -> Iterator[bytes]:
        digester, length = Digester(digest.algorithm), 0
        with self._source.open(digest) as file:
            while part := _read(file):
                if self.is_given_up:
                    raise _GivenUp
                digester.update(part)
                length += len(part)
                if length > size:
                    break
                with self._counting:
                    self.done += len(part)
                yield part
        if length != size:
            raise InvalidContent(f"has {'at least ' if length > size else ''}{length} bytes instead of {size}")
        if digester.digest != digest:
            raise InvalidContent(f"has other bytes: their digest is {digester.digest}")


@storage_errors()
def _read(file: BinaryIO) -> bytes:
    return file.read(PART_BYTES)
