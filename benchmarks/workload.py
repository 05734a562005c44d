"""The images that the benchmark moves: with given layers, or with generated ones, half of which compresses."""

from __future__ import annotations

import hashlib
import io
import json
import math
import random
import tarfile
import zlib
from pathlib import Path

MIB = 1 << 20
LAYER = "application/vnd.docker.image.rootfs.diff.tar"
CONFIG = "application/vnd.docker.container.image.v1+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def file_system(mebibytes: int, seed: int, folder: str = "") -> bytes:
    """An uncompressed tar of files, alternately random and repetitive, with sizes as in a Debian root: median 3 kB, mean 30 kB.

    Of the same seed and folder, a larger one begins with the files of a smaller one.
    """
    source = random.Random(seed)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        number = 0
        while buffer.tell() < mebibytes * MIB:
            size = min(4 * MIB, int(source.lognormvariate(math.log(3000), 2.15)))
            text = b" ".join(b"%x" % source.getrandbits(20) for _ in range(40)) + b"\n"
            member = tarfile.TarInfo(f"{folder or f'usr/share/part{seed}'}/{number % 200}/{number}")
            member.size = size
            archive.addfile(member, io.BytesIO(source.randbytes(size) if number % 2 else (text * (size // len(text) + 1))[:size]))
            number += 1
    return buffer.getvalue()


def gzip(content: bytes) -> bytes:
    compressor = zlib.compressobj(6, zlib.DEFLATED, 31)
    return compressor.compress(content) + compressor.flush()


class Archive:
    """An OCI layout that is also a docker-archive, written to `path`: what `docker save` writes, with layers compressed or not."""

    def __init__(self, path: Path, *, compressed: bool = True) -> None:
        self._compressed = compressed
        self._tar = tarfile.TarFile(path, "w", format=tarfile.USTAR_FORMAT)
        self._roots: list[dict[str, object]] = []
        self._entries: list[dict[str, object]] = []
        self._add("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')

    def _add(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        self._tar.addfile(member, io.BytesIO(content))

    def _blob(self, content: bytes, media_type: str) -> dict[str, object]:
        identity = digest(content)
        self._add("blobs/sha256/" + identity[7:], content)
        return {"mediaType": media_type, "size": len(content), "digest": identity}

    def image(self, name: str, layers: list[bytes], steps: int = 0) -> None:
        """Add an image with these uncompressed layers, and as many steps without a layer, each of which sets a variable."""
        config = {
            "architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z",
            "config": {"Cmd": ["sh"], "Labels": {"bench": name}, "Env": [f"NAME{number}=value of it" for number in range(steps)]},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "COPY"} for _ in layers]
            + [{"created": "2026-01-01T00:00:00Z", "created_by": "ENV", "comment": "buildkit.dockerfile.v0", "empty_layer": True}] * steps,
        }  # fmt: skip
        blobs = [self._blob(gzip(layer), LAYER + ".gzip") if self._compressed else self._blob(layer, LAYER) for layer in layers]
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": self._blob(json.dumps(config).encode(), CONFIG), "layers": blobs}
        root = self._blob(json.dumps(manifest).encode(), MANIFEST)
        annotations = {
            "io.containerd.image.name": f"docker.io/library/{name}",
            "org.opencontainers.image.ref.name": name.rpartition(":")[2],
        }
        self._roots.append({**root, "annotations": annotations})
        paths = ["blobs/sha256/" + str(blob["digest"])[7:] for blob in blobs]
        self._entries.append({"Config": "blobs/sha256/" + str(manifest["config"]["digest"])[7:], "RepoTags": [name], "Layers": paths})  # type: ignore[index]

    def close(self) -> None:
        self._add("index.json", json.dumps({"schemaVersion": 2, "manifests": self._roots}).encode())
        self._add("manifest.json", json.dumps(self._entries).encode())
        self._tar.close()


def made_layers(folder: Path, mebibytes: int) -> list[Path]:
    """Four layers that make an archive of about `mebibytes` when they are compressed."""
    paths = [folder / f"layer{seed}.tar" for seed in range(4)]
    for seed, path in enumerate(paths):
        path.write_bytes(file_system(mebibytes // 2, seed))
    return paths


def large_image(path: Path, layers: list[Path], *, compressed: bool) -> None:
    """`large:1`, with all these layers."""
    archive = Archive(path, compressed=compressed)
    archive.image("large:1", [layer.read_bytes() for layer in layers])
    archive.close()


def single_layers(path: Path, layers: list[Path]) -> None:
    """Each layer as an image of its own: `layer0:1` and so on."""
    archive = Archive(path)
    for number, layer in enumerate(layers):
        archive.image(f"layer{number}:1", [layer.read_bytes()])
    archive.close()


def many_images(path: Path, count: int) -> None:
    """`count` images, each with a shared layer and a small layer of its own."""
    archive = Archive(path)
    shared = file_system(1, 1000)
    for number in range(count):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as small:
            small.addfile(tarfile.TarInfo(f"etc/{number}"))
        archive.image(f"many{number}:1", [shared, buffer.getvalue()])
    archive.close()


def one_image(path: Path) -> None:
    """`one:1`, with the config of a usual base image of a language: five layers and ten more steps."""
    archive = Archive(path)
    archive.image("one:1", [file_system(1, seed) for seed in range(5)], steps=10)
    archive.close()
