"""Deterministic test images: layers, configs, manifests, indexes, and the archives that carry them.

Everything is made of fixed bytes and fixed times, so that digests are the same on every machine. Descriptors are plain JSON objects here,
as they stand in an index.json, so that tests can damage them.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import sys
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stowage.services.engine import Engine
from stowage.services.gc.leases import hold
from stowage.services.images.load import load_image as stream_load
from stowage.services.intake.ingest import store_blob
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.reference import Reference, dangling_name
from stowage.services.store.graph import read_graph
from stowage.services.store.publish import assign_name, read_configs, record_graph

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Json = dict[str, Any]

MTIME = 1_700_000_000
CREATED = "2023-11-14T22:13:20Z"
PREDICATE_PROVENANCE = "https://slsa.dev/provenance/v0.2"
PREDICATE_SBOM = "https://spdx.dev/Document"
IN_TOTO = "application/vnd.in-toto+json"
HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
HELM_CHART = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"


@dataclass(frozen=True, slots=True)
class Link:
    """A tar member that is a symbolic link."""

    target: str


@dataclass(frozen=True)
class HardLink(Link):
    """A tar member that is a hard link."""


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def to_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def make_tar(
    members: Mapping[str, bytes | Link | None] | Iterable[tuple[str, bytes | Link | None]], *, tar_format: int = tarfile.USTAR_FORMAT
) -> bytes:
    """A tar of these members in order: bytes are a file, None a folder. Pairs may repeat a name."""
    pairs = members.items() if isinstance(members, Mapping) else members
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as archive:
        for name, member in pairs:
            header = tarfile.TarInfo(name)
            header.mtime = MTIME
            content = b""
            if member is None:
                header.type, header.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(member, Link):
                header.type = tarfile.LNKTYPE if isinstance(member, HardLink) else tarfile.SYMTYPE
                header.linkname = member.target
            else:
                header.size, content = len(member), member
            archive.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


def make_layer(label: str = "layer", size: int = 64) -> bytes:
    """An uncompressed layer with one file of `size` bytes; other labels give other digests."""
    line = f"{label}\n".encode()
    return make_tar({f"files/{label}": (line * (size // len(line) + 1))[:size]})


def compress(raw: bytes, compression: str) -> bytes:
    """Compress as "none", "gzip", "bzip2", "xz" or "zstd"."""
    match compression:
        case "gzip":
            return gzip.compress(raw, 6, mtime=0)
        case "bzip2":
            return bz2.compress(raw)
        case "xz":
            return lzma.compress(raw)
        case "zstd":
            return zstd.compress(raw, 3)
    return raw


def make_config(diff_ids: Iterable[str], *, platform: str = "linux/amd64", config: Json | None = None, **fields: Any) -> Json:
    """An image config; `platform` is os/arch[/variant], other fields are set as given (None leaves `created` or `history` out)."""
    os, architecture, variant = [*platform.split("/"), ""][:3]
    diff_ids = list(diff_ids)
    steps = [
        {"created": CREATED, "created_by": f"COPY layer{i} / # buildkit", "comment": "buildkit.dockerfile.v0"} for i in range(len(diff_ids))
    ]
    whole: Json = {
        "architecture": architecture,
        "os": os,
        **({"variant": variant} if variant else {}),
        "config": config or {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "created": CREATED,
        "history": steps,
    }
    return {key: value for key, value in (whole | fields).items() if value is not None}


@dataclass(slots=True)
class Layout:
    """An OCI image layout being filled; `to_tar` gives the archive, `put_image` stores a part of it directly."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: list[Json] = field(default_factory=list)

    def add(self, content: bytes, media_type: str, **fields: Any) -> Json:
        """Keep a blob; returns its descriptor."""
        digest = digest_of(content)
        self.blobs[digest] = content
        return {"mediaType": media_type, "digest": digest, "size": len(content), **fields}

    def add_json(self, document: object, media_type: str, **fields: Any) -> Json:
        return self.add(to_json(document), media_type, **fields)

    def image(
        self,
        layers: Iterable[bytes] = (),
        *,
        compression: str = "gzip",
        docker: bool = False,
        platform: str = "linux/amd64",
        config: Json | None = None,
        **config_fields: Any,
    ) -> Json:
        """An image of uncompressed layers, with OCI's or Docker's media types; returns the manifest's descriptor, without a platform."""
        raw_layers = list(layers)
        descriptors = [self.add(compress(raw, compression), layer_media_type(compression, docker=docker)) for raw in raw_layers]
        document = make_config(map(digest_of, raw_layers), platform=platform, config=config, **config_fields)
        config_descriptor = self.add_json(document, mediatypes.DOCKER_CONFIG if docker else mediatypes.OCI_CONFIG)
        return self.manifest(config_descriptor, descriptors, media_type=mediatypes.DOCKER_MANIFEST if docker else mediatypes.OCI_MANIFEST)

    def manifest(self, config: Json, layers: list[Json], *, media_type: str = mediatypes.OCI_MANIFEST, **fields: Any) -> Json:
        return self.add_json({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers, **fields}, media_type)

    def index(self, manifests: list[Json], *, media_type: str = mediatypes.OCI_INDEX, **fields: Any) -> Json:
        return self.add_json({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests, **fields}, media_type)

    def attestation(self, subject: Json) -> Json:
        """BuildKit's attestation manifest (provenance and SBOM) of an image manifest, as it stands in an index."""
        statements = [
            self.add_json(
                {
                    "_type": "https://in-toto.io/Statement/v0.1",
                    "predicateType": predicate,
                    "subject": [],
                    "predicate": {"of": subject["digest"]},
                },
                IN_TOTO,
                annotations={"in-toto.io/predicate-type": predicate},
            )
            for predicate in (PREDICATE_PROVENANCE, PREDICATE_SBOM)
        ]
        document = make_config([statement["digest"] for statement in statements], platform="unknown/unknown", created=None, history=None)
        manifest = self.manifest(self.add_json(document, mediatypes.OCI_CONFIG), statements)
        annotations = {"vnd.docker.reference.digest": subject["digest"], "vnd.docker.reference.type": "attestation-manifest"}
        return {**manifest, "platform": {"architecture": "unknown", "os": "unknown"}, "annotations": annotations}

    def multi_platform(
        self, platforms: Iterable[str] = ("linux/amd64", "linux/arm64/v8", "linux/arm/v7"), *, attested: bool = True
    ) -> Json:
        """An index of images that share one layer and have one of their own, each with an attestation if asked."""
        images = [
            on_platform(self.image([make_layer("base"), make_layer(platform.replace("/", "-"))], platform=platform), platform)
            for platform in platforms
        ]
        return self.index(images + [self.attestation(image) for image in images if attested])

    def chart(self, name: str = "web") -> Json:
        """A Helm chart: an artifact whose config and layer are of Helm's own types."""
        content = make_tar({f"{name}/Chart.yaml": f"name: {name}\n".encode()})
        config = self.add_json({"name": name, "version": "1.0.0", "apiVersion": "v2"}, HELM_CONFIG)
        return self.manifest(config, [self.add(compress(content, "gzip"), HELM_CHART)])

    def tag(self, descriptor: Json, name: str | None = None) -> None:
        """List a manifest in index.json under a canonical name, or without one."""
        self.manifests.append(
            {**descriptor, "annotations": {**descriptor.get("annotations", {}), **name_annotations(name)}} if name else descriptor
        )

    def without(self, *descriptors: Json) -> None:
        """Drop the blobs of these descriptors and, of manifests, what they alone list."""
        for descriptor in descriptors:
            document = self.blobs.pop(descriptor["digest"])
            if mediatypes.is_manifest(descriptor["mediaType"]):
                parsed = json.loads(document)
                lost = {part["digest"] for part in [parsed["config"], *parsed["layers"]]}
                for digest in lost - self._listed():
                    self.blobs.pop(digest, None)

    def _listed(self) -> set[str]:
        documents = [json.loads(blob) for blob in self.blobs.values() if blob.startswith(b'{"schemaVersion"')]
        return {part["digest"] for document in documents for part in [*document.get("layers", []), *filter(None, [document.get("config")])]}

    def members(self) -> dict[str, bytes | Link | None]:
        """The archive's members in order, for tests that damage them."""
        index = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": self.manifests}
        members: dict[str, bytes | Link | None] = {
            "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
            "index.json": to_json(index),
            "blobs/": None,
            "blobs/sha256/": None,
        }
        return members | {blob_path(digest): blob for digest, blob in self.blobs.items()}

    def to_tar(self) -> bytes:
        return make_tar(self.members())


def on_platform(descriptor: Json, platform: str) -> Json:
    """The descriptor as it stands in an index, with its platform."""
    os, architecture, variant = [*platform.split("/"), ""][:3]
    return {**descriptor, "platform": {"architecture": architecture, "os": os, **({"variant": variant} if variant else {})}}


def blob_path(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def layer_media_type(compression: str, *, docker: bool = False) -> str:
    plain = mediatypes.DOCKER_LAYER if docker else mediatypes.OCI_LAYER
    return plain + {"gzip": ".gzip" if docker else "+gzip", "zstd": ".zstd" if docker else "+zstd"}.get(compression, "")


def name_annotations(name: str) -> dict[str, str]:
    """How containerd names an entry of index.json."""
    tag = name.rpartition(":")[2]
    return {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag}


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """One entry of a docker-archive: uncompressed layers, familiar names, and fields of its config."""

    layers: tuple[bytes, ...]
    tags: tuple[str, ...] = ()
    config: Json = field(default_factory=dict)
    diff_ids: tuple[str, ...] | None = None


def docker_archive_members(images: Iterable[ArchivedImage]) -> dict[str, bytes | Link | None]:
    """The members of a classic `docker save` archive: <config>.json, <layer>/layer.tar, manifest.json, repositories."""
    members: dict[str, bytes | Link | None] = {}
    manifest: list[Json] = []
    repositories: dict[str, dict[str, str]] = {}
    for image in images:
        config = to_json(make_config(image.diff_ids or tuple(map(digest_of, image.layers)), **image.config))
        folders = [digest_of(layer).removeprefix("sha256:") for layer in image.layers]
        for folder, layer in zip(folders, image.layers, strict=True):
            members |= {folder + "/": None, folder + "/VERSION": b"1.0", folder + "/layer.tar": layer}
        config_name = digest_of(config).removeprefix("sha256:") + ".json"
        members[config_name] = config
        manifest.append(
            {"Config": config_name, "RepoTags": list(image.tags) or None, "Layers": [folder + "/layer.tar" for folder in folders]}
        )
        for tag in image.tags:
            repository, _, version = tag.rpartition(":")
            repositories.setdefault(repository, {})[version] = folders[-1]
    return members | {"manifest.json": to_json(manifest)} | ({"repositories": to_json(repositories)} if repositories else {})


def docker_archive(*images: ArchivedImage) -> bytes:
    """A classic `docker save` archive."""
    return make_tar(docker_archive_members(images))


def simple_layout(name: str | None = "docker.io/library/simple:latest", *, label: str = "simple", **image_fields: Any) -> Layout:
    """A layout with one image of one layer under this name."""
    layout = Layout()
    layout.tag(layout.image([make_layer(label)], **image_fields), name)
    return layout


def partial_layout(name: str = "docker.io/library/partial:latest") -> Layout:
    """A multi-platform layout in which only linux/amd64 and its attestation are present."""
    layout = Layout()
    index = layout.multi_platform(("linux/amd64", "linux/arm64/v8"))
    _, arm64, _, arm64_attestation = json.loads(layout.blobs[index["digest"]])["manifests"]
    layout.without(arm64, arm64_attestation)
    layout.tag(index, name)
    return layout


def short(descriptor: Json) -> str:
    """The first 12 digits of a digest, as progress lines give them."""
    return str(descriptor["digest"])[7:19]


def layers_of(layout: Layout, manifest: Json) -> list[Json]:
    """The descriptors of an image's layers."""
    return list(json.loads(layout.blobs[manifest["digest"]])["layers"])


def load_image(engine: Engine, archive: bytes, **options: Any) -> list[str]:
    """Load an archive; returns the lines that were streamed."""
    return [progress.stream for progress in stream_load(engine, io.BytesIO(archive), **options) if progress.stream]


def put_image(
    engine: Engine, name: str | None = "docker.io/library/simple:latest", layout: Layout | None = None, descriptor: Json | None = None
) -> Digest:
    """Store every blob of the layout and make one of its manifests (default: the first tagged) an image; returns its digest.

    `name` may be familiar; None leaves the image dangling.
    """
    layout = layout or simple_layout()
    chosen = Descriptor.from_json(descriptor or {**layout.manifests[0], "annotations": {}})
    with hold(engine.metadata, engine.content, "test") as lease:
        for blob in layout.blobs.values():
            store_blob(engine, lease, [blob])
        graph = read_graph(engine, lease.digests(), chosen)
        with engine.metadata.write() as tx:
            record_graph(tx, graph, read_configs(engine.content, graph))
            canonical = str(Reference.parse(name).tagged()) if name else dangling_name(chosen.digest)
            assign_name(tx, canonical, chosen, engine.clock())
    return chosen.digest
