"""Where a command writes an archive: standard output, or a file that appears when it is whole."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from stowage.services.errors import EngineError


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
