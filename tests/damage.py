"""What disks and people do to the files of blobs, behind the store's back."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from stowage.services.engine import Engine
from stowage.services.gc.verify import FindingKind, verify_store
from stowage.services.oci.digest import Digest
from tests.builders import Json, Layout

Spoil = Callable[[Path], None]


def blob_file(engine: Engine, digest: Digest) -> Path:
    with engine.content.open(digest) as blob:
        return Path(blob.name)


def lose(path: Path) -> None:
    path.unlink()


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    """Change one bit, in another file and so at another version however coarse the file system's clock is."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    other = path.with_name("other")
    other.write_bytes(content)
    os.rename(other, path)


every_damage = pytest.mark.parametrize("spoil", [lose, shorten, flip])
every_part = pytest.mark.parametrize("part", ["manifest", "config", "layer", "small layer"])


def parts_of(layout: Layout, manifest: Json) -> dict[str, Digest]:
    """The digests of what an image of two layers consists of, by the names of `every_part`."""
    document = json.loads(layout.blobs[manifest["digest"]])
    layer, small_layer = document["layers"]
    parts = {"manifest": manifest, "config": document["config"], "layer": layer, "small layer": small_layer}
    return {name: Digest.parse(part["digest"]) for name, part in parts.items()}


def link_to(target: str) -> Spoil:
    """Puts a symlink in place of the file."""

    def spoil(path: Path) -> None:
        path.unlink(missing_ok=True)
        path.symlink_to(target.format(name=path.name))

    return spoil


def folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def full_folder(path: Path) -> None:
    folder(path)
    (path / "inner").mkdir()
    (path / "inner" / "file").write_bytes(b"what a user has there")


def fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def socket(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mknod(path, stat.S_IFSOCK | 0o600)


NO_FILES: dict[str, Spoil] = {
    "symlink loop": link_to("{name}"),
    "dangling symlink": link_to("nowhere"),
    "folder": folder,
    "full folder": full_folder,
    "fifo": fifo,
    "socket": socket,
}
"""What may stand in place of a file, and is none; a symlink to another file is one more."""


def damages(engine: Engine) -> dict[Digest, str]:
    """The blobs that are marked, and why."""
    with engine.metadata.read() as tx:
        return tx.graph.damages(tx.graph.all_blobs())


def verify(engine: Engine) -> list[str]:
    """What a scrub finds, as it is printed; it marks what is damaged. Leftovers are left out."""
    found = verify_store(engine.metadata, engine.content)
    return [f"{each.kind}: {each.sentence}" for each in found if each.kind in (FindingKind.DAMAGE, FindingKind.AFFECTED)]
