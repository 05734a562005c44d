"""The archive of `docker save`: manifest.json, and the manifest that engines derive from it.

    manifest.json := [ {"Config": <member>, "RepoTags": [<name>] | null, "Layers": [<member>, ...]}, ... ]
    members       := <config>.json | <layer>/layer.tar | blobs/sha256/<hex>, whatever manifest.json names

A layer may be a symbolic link to another layer's member. Older archives that have only `repositories` and <id>/json are not recognised, as
in moby. An image in a docker-archive has no manifest of its own. The one made here equals containerd's byte for byte, so the IDs are equal
too. Anything after the document in manifest.json is ignored, as in containerd.

Source: containerd core/images/archive importer.go (ImportIndex, resolveLayers, writeManifest) and exporter.go (manifestsRecord).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from stowage.services.archive.compression import Compression
from stowage.services.archive.oci_layout import MAX_DOCUMENT_VALUES
from stowage.services.errors import InvalidContent, InvalidDigest
from stowage.services.oci import gojson
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.gojson import Fields, unmarshal_error
from stowage.services.oci.mediatypes import DOCKER_LAYER, DOCKER_LAYER_GZIP, DOCKER_MANIFEST

MANIFEST_FILE = "manifest.json"

_ENTRY = "struct { Config string; RepoTags []string; Layers []string }"
_COMPRESSED = frozenset({Compression.GZIP, Compression.ZSTD})
_MAX_LINKS = 40  # in a chain of symbolic links, as on Linux


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """One entry of manifest.json: the members that hold its config and layers, and its names as written."""

    config: str
    repo_tags: tuple[str, ...]
    layers: tuple[str, ...]


def parse_manifest_file(raw: bytes) -> list[ArchivedImage]:
    """Read manifest.json; raises InvalidContent with containerd's words, and "unrecognized image format" for null."""
    try:
        entries = gojson.decode_first(raw, most=MAX_DOCUMENT_VALUES)
        if entries is not None and not isinstance(entries, list):
            raise unmarshal_error(entries, f"[]{_ENTRY}")
        images = [_parse_entry({} if entry is None else entry) for entry in entries or ()]
    except InvalidContent as exc:
        raise InvalidContent(f'untar manifest "{MANIFEST_FILE}": {exc}') from exc
    if entries is None:
        raise InvalidContent("unrecognized image format")
    return images


def _parse_entry(entry: object) -> ArchivedImage:
    if not isinstance(entry, Mapping):
        raise unmarshal_error(entry, _ENTRY)
    fields = Fields(entry, "")  # a struct without a name
    return ArchivedImage(fields.text("Config"), fields.texts("RepoTags") or (), fields.texts("Layers") or ())


def manifest_file(images: Iterable[tuple[Digest, Iterable[str], Iterable[Digest]]]) -> bytes:
    """Write manifest.json for images given as config, familiar names and layers, all of them in blobs/."""
    return gojson.encode(
        [
            {"Config": blob_member(config), "RepoTags": list(names) or None, "Layers": [blob_member(layer) for layer in layers] or None}
            for config, names, layers in images
        ]
    )


def blob_member(digest: Digest) -> str:
    """Where an OCI layout keeps a blob."""
    return f"blobs/{digest.algorithm}/{digest.hex}"


def blob_named(member: str) -> Digest | None:
    """The digest that a member of blobs/ promises by its name; None for any other member."""
    folder, _, rest = member.partition("/")
    if folder != "blobs":
        return None
    with suppress(InvalidDigest):
        return Digest.parse(rest.replace("/", ":", 1))
    return None


def layer_media_type(head: bytes) -> str:
    """The media type that containerd gives a layer that begins with these ten bytes: gzip for zstd too, plain if it cannot tell."""
    return DOCKER_LAYER_GZIP if Compression.detect(head) in _COMPRESSED else DOCKER_LAYER


def derive_manifest(config: Descriptor, layers: Iterable[Descriptor]) -> bytes:
    """The manifest that containerd writes for an image without one."""
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": config.to_json(),
        "layers": [layer.to_json() for layer in layers],
    }
    return gojson.encode(document)


def resolve_links(members: Mapping[str, object], links: Mapping[str, str]) -> dict[str, str]:
    """Map each symbolic link to the member it leads to, also through other links; raises InvalidContent if there is none."""
    return {name: _follow(name, members, links) for name in links}


def _follow(name: str, members: Mapping[str, object], links: Mapping[str, str]) -> str:
    target = links[name]
    for _ in range(_MAX_LINKS):
        if target in members:
            return target
        target = links.get(target, "")
    raise InvalidContent(f"no target for symlink layer from {gojson.quote(name)} to {gojson.quote(links[name])}")
