"""`stowage save`: write images to an archive, without the layers that its receiver has."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from stowage.app.commands import add_command
from stowage.app.terminal import ProgressLine, shown_share, shown_size

if TYPE_CHECKING:
    from stowage.app.settings import Config
    from stowage.services.archive.bounds import Costs
    from stowage.services.engine import Engine
    from stowage.services.oci.digest import Digest

_EXAMPLES = """  stowage save -o images.tar debian:trixie team/app
  stowage save --since images.tar -o more.tar team/app:2     without the layers that images.tar brought"""
_SINCE = "an archive that the receiver has loaded, or a list of its blobs (from stowage blobs, or tar -tf ARCHIVE); may be repeated"


def add(commands: _SubParsersAction[ArgumentParser], common: ArgumentParser) -> None:
    """Declare the command and its options."""
    summary = "write images to an archive for docker load, with --since without the layers that its receiver has"
    parser = add_command(commands, "save", summary, common, examples=_EXAMPLES)
    parser.add_argument("--since", metavar="ARCHIVE|LIST", action="append", default=[], type=Path, help=_SINCE)
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write to this file, which appears when it is whole")
    parser.add_argument("--platform", metavar="OS/ARCH", action="append", default=[], help="save only this platform; may be repeated")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="a name, a repository (all its tags) or an ID")
    parser.set_defaults(run=run, cut="no archive was written")


def run(config: Config, options: Namespace) -> int:
    """Write the archive. An error in the request is reported before a file is made."""
    from stowage.app.settings import ConfigError
    from stowage.app.wiring import open_engine
    from stowage.services.archive.bounds import Costs
    from stowage.services.images.save import save_images
    from stowage.services.oci.platform import Platform

    if options.output is None and sys.stdout.isatty():
        raise ConfigError("an archive is not written to a terminal: name a file with -o, or redirect the output.")
    platforms = [Platform.parse(platform) for platform in options.platform]
    with open_engine(config) as engine, closing(Costs(engine.memory)) as costs, ProgressLine() as line:
        known = {digest for path in options.since for digest in _read_known(engine, path, costs, line)}
        with closing(save_images(engine, options.images, platforms=platforms, without=known)) as chunks:
            _write(chunks, options.output, line)
    return 0


def _write(chunks: Iterator[bytes], path: Path | None, line: ProgressLine) -> None:
    from stowage.app.output import open_output

    chunk, size = next(chunks, b""), 0
    with open_output(path) as output:
        while chunk:
            output.write(chunk)
            size += len(chunk)
            line.show(f"saving: {shown_size(size)}")
            chunk = next(chunks, b"")


def _read_known(engine: Engine, path: Path, costs: Costs, line: ProgressLine) -> set[Digest]:
    from stowage.app.settings import ConfigError
    from stowage.services.errors import EngineError
    from stowage.services.intake.known_blobs import read_known_blobs

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
