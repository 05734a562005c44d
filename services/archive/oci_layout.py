"""The OCI image layout in a tar: oci-layout, index.json, blobs/<algorithm>/<hex>.

Annotations name an entry of index.json: io.containerd.image.name is a full name, org.opencontainers.image.ref.name the fallback. An entry
that refers to another as its subject (a signature, an attestation) is not an image of its own, unless it has a name.

These two documents are not part of an image's content and are read as leniently as in containerd. index.json needs no schemaVersion and
may state any media type. Anything after the document in oci-layout is ignored.

Source: OCI image spec image-layout.md; containerd client/import.go (imageName, decodeIndex), core/images/archive exporter.go, importer.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from stowage.services.errors import InvalidContent
from stowage.services.oci import gojson
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.gojson import Fields
from stowage.services.oci.mediatypes import OCI_INDEX

LAYOUT_FILE = "oci-layout"
INDEX_FILE = "index.json"
LAYOUT_VERSION = "1.0.0"
LAYOUT = gojson.encode({"imageLayoutVersion": LAYOUT_VERSION})

IMAGE_NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"
MANIFEST_SUBJECT = "io.containerd.manifest.subject"

MAX_DOCUMENT_VALUES = 1 << 19
"""The limit for index.json and manifest.json, roughly. It is higher than that of a manifest, for archives of many images. A document of
nothing but tiny values takes 50 times its size in memory.
"""

MAX_ENTRY_TEXT = 16 << 10
"""The limit for the media type and the annotations of an entry of index.json, in characters: every name of the image has them."""

_UNIQUE_KEYS = frozenset({"manifests", "mediatype", "digest", "size", "annotations"})


def parse_layout_version(raw: bytes) -> str:
    """The version in oci-layout, empty if there is none; raises InvalidContent for an unknown version."""
    try:
        version = Fields(gojson.decode_first(raw), "ImageLayout").text("imageLayoutVersion")
    except InvalidContent as exc:
        raise InvalidContent(f'untar oci layout "{LAYOUT_FILE}": {exc}') from exc
    if version not in ("", LAYOUT_VERSION):
        raise InvalidContent(f"unsupported OCI version {version}")
    return version


def parse_index_file(raw: bytes, *, most: int) -> tuple[Descriptor, ...]:
    """The entries of index.json, in order; raises InvalidContent, also for more than `most` entries, for one with too much text, and for a
    key that matters and occurs twice in an object.
    """
    index = gojson.decode(raw, unique=_UNIQUE_KEYS, most=MAX_DOCUMENT_VALUES)
    entries = Fields({} if index is None else index, "Index").array("manifests", "[]v1.Descriptor")
    if entries is not None and len(entries) > most:
        raise InvalidContent(f"index.json lists more than {most} images")
    return tuple(map(_parse_entry, entries or ()))


def _parse_entry(entry: object) -> Descriptor:
    descriptor = Descriptor.from_json(entry)
    if replace(descriptor, urls=(), data="").text_size > MAX_ENTRY_TEXT:
        raise InvalidContent(f"index.json has more than {MAX_ENTRY_TEXT} characters of media type and annotations for {descriptor.digest}")
    return descriptor


def entry_name(descriptor: Descriptor) -> str:
    """The name that the archive gives an entry, as written; empty if it gives none."""
    return descriptor.annotations.get(IMAGE_NAME) or descriptor.annotations.get(REF_NAME, "")


def is_image(descriptor: Descriptor) -> bool:
    return bool(entry_name(descriptor)) or MANIFEST_SUBJECT not in descriptor.annotations


def named(descriptor: Descriptor, name: str) -> Descriptor:
    """The descriptor as index.json lists it under a canonical name."""
    last, colon, tag = name.rpartition("/")[2].partition(":")
    ref_name = tag if colon and "@" not in last else name
    annotations = {**descriptor.annotations, IMAGE_NAME: name, REF_NAME: ref_name}
    return replace(descriptor, annotations=dict(sorted(annotations.items())))


def unnamed(descriptor: Descriptor) -> Descriptor:
    """The descriptor without the annotations that name it."""
    kept = {key: value for key, value in descriptor.annotations.items() if key not in (IMAGE_NAME, REF_NAME)}
    return replace(descriptor, annotations=kept)


def index_file(entries: Iterable[Descriptor]) -> bytes:
    """Write index.json."""
    return gojson.encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry.to_json() for entry in entries]})
