"""What tests of load and save share: images of every kind, and looks into archives and stores."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterable
from typing import Any

from stowage.services.engine import Engine
from stowage.services.images.save import save_images
from stowage.services.oci.platform import Platform
from tests.builders import Json, Layout, load_image, make_layer
from tests.listings import all_records

AMD64 = Platform(os="linux", architecture="amd64")
ARM64 = Platform(os="linux", architecture="arm64", variant="v8")
ARMV7 = Platform(os="linux", architecture="arm", variant="v7")
S390X = Platform(os="linux", architecture="s390x")


def multi(layout: Layout) -> Json:
    return layout.multi_platform()


def nested(layout: Layout) -> Json:
    return layout.index([layout.multi_platform()])


def chart(layout: Layout) -> Json:
    return layout.chart()


def zstd(layout: Layout) -> Json:
    return layout.image([make_layer("a"), make_layer("b")], compression="zstd")


def listed(layout: Layout) -> list[Json]:
    """What the index lists that is the layout's image."""
    manifests: list[Json] = json.loads(layout.blobs[layout.manifests[0]["digest"]])["manifests"]
    return manifests


def put_layout(engine: Engine, name: str, make: Callable[[Layout], Json]) -> Layout:
    layout = Layout()
    layout.tag(make(layout), name)
    load_image(engine, layout.to_tar())
    return layout


def save(engine: Engine, *names: str, platforms: Iterable[Platform] = ()) -> bytes:
    return b"".join(save_images(engine, names, platforms=tuple(platforms)))


def members(archive: bytes) -> dict[str, bytes | None]:
    """Name -> content, None for folders."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {member.name: file.read() if (file := opened.extractfile(member)) else None for member in opened}


def document(archive: bytes, name: str) -> Any:
    content = members(archive)[name]
    assert content is not None
    return json.loads(content)


def names(engine: Engine) -> dict[str, str]:
    """Name -> digest of the images that are there."""
    return {record.name: str(record.target.digest) for record in all_records(engine.metadata)}


def blobs(engine: Engine) -> set[str]:
    """The digests of the blobs that are there."""
    return {str(digest) for digest, _ in engine.content.blobs()}


class Held:
    """A source that gives its bytes and then waits."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)
        self.given, self.go_on = threading.Event(), threading.Event()

    def read(self, size: int, /) -> bytes:
        if chunk := self._content.read(size):
            return chunk
        self.given.set()
        assert self.go_on.wait(10)
        return b""
