"""`stowage save` and `blobs`: archives of images, without the layers that their receiver has, and the list that says which these are."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, BinaryIO

from stowage.app.settings import Config, ConfigError
from stowage.app.terminal import ProgressLine, shown_share, shown_size
from stowage.app.wiring import open_engine
from stowage.services.archive.bounds import Costs
from stowage.services.engine import Engine
from stowage.services.errors import EngineError
from stowage.services.images.save import save_images
from stowage.services.intake.known_blobs import read_known_blobs
from stowage.services.meter import Tally
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform
from stowage.services.system.blobs import list_blobs


def save(config: Config, options: Namespace) -> int:
    """Write the archive. An error in the request is reported before a file is made."""
    if options.output is None and sys.stdout.isatty():
        raise ConfigError("an archive is not written to a terminal: name a file with -o, or redirect the output.")
    platforms = [Platform.parse(platform) for platform in options.platform]
    tally = Tally()
    with open_engine(config) as engine, closing(Costs(engine.memory)) as costs, ProgressLine() as line:
        known = {digest for path in options.since for digest in _read_known(engine, path, costs, line)}
        with closing(save_images(replace(engine, tally=tally), options.images, platforms=platforms, without=known)) as chunks:
            _write(chunks, options.output, line, tally)
    return 0


def list_known(config: Config, _: Namespace) -> int:
    """Print the digest of every blob, one a line."""
    with open_engine(config) as engine, open_output(None) as output:
        output.writelines(line.encode() for line in list_blobs(engine))
    return 0


@contextmanager
def open_output(path: Path | None) -> Iterator[IO[bytes]]:
    """Open the file, or standard output for None. Its content is on disk when the context ends, and an exception leaves no new file.

    Until then the content is in a file beside it whose name ends in `.part`. A device or a pipe is written to directly. Raises EngineError
    if it cannot be written, also from within the context.
    """
    try:
        if path is None:
            with open(os.dup(sys.stdout.fileno()), "wb") as stream:
                yield stream
        elif path.exists() and not path.is_file():
            with path.open("wb") as stream:
                yield stream
        else:
            with _replacing(path.resolve()) as stream:
                yield stream
    except OSError as exc:
        raise EngineError(f"cannot write {path or 'to standard output'}: {exc.strerror}.") from exc


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".part", delete=False) as part:
        try:
            yield part.file
            part.file.flush()
            os.fsync(part.fileno())
            os.replace(part.name, path)
        except BaseException:
            os.unlink(part.name)
            raise


def _write(chunks: Iterator[bytes], path: Path | None, line: ProgressLine, tally: Tally) -> None:
    chunk, size = next(chunks, b""), 0
    with open_output(path) as output:
        while chunk:
            output.write(chunk)
            size += len(chunk)
            total = tally.parts.extent().total
            line.show(f"saving: {shown_size(size) if total is None else shown_share(min(size, total), total)}")
            chunk = next(chunks, b"")


def _read_known(engine: Engine, path: Path, costs: Costs, line: ProgressLine) -> set[Digest]:
    try:
        with path.open("rb") as source:
            return read_known_blobs(engine, _Shown(source, path, line), costs)
    except OSError as exc:
        raise ConfigError(f"--since: cannot read {path}: {exc.strerror}.") from exc
    except EngineError as exc:
        raise ConfigError(f"--since: cannot use {path}: {exc}.") from exc


class _Shown:
    """A file whose reading is shown."""

    def __init__(self, source: BinaryIO, path: Path, line: ProgressLine) -> None:
        self._source = source
        self._name = path.name
        self._line = line
        self._size = os.fstat(source.fileno()).st_size
        self._done = 0

    def read(self, size: int, /) -> bytes:
        chunk = self._source.read(size)
        self._done += len(chunk)
        self._line.show(f"reading {self._name}: {shown_share(self._done, self._size)}")
        return chunk
