"""Manifests and indexes, and which of the manifests that an index lists are for a platform.

They are parsed strictly: a document that could be read as both kinds is refused (CVE-2021-41190). Beyond containerd's checks, a media type
in the document must be the one under which the document was requested or listed. No key that matters may occur twice in an object, in any
letter case, since readers differ in which one they take. As in containerd, `schemaVersion` may be any number, or absent.

Source: OCI image spec manifest.md and image-index.md; Docker's image manifest version 2 schema 2; containerd core/images/image.go
(validateMediaType) and handlers.go (FilterPlatforms, LimitManifests, SetReferrers); moby daemon/containerd/image_pull.go (referrersList).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stowage.services.errors import InvalidContent
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor, attestations_of
from stowage.services.oci.gojson import Fields, decode
from stowage.services.oci.platform import PlatformMatcher, best_match

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
"""The limit that registries and containerd apply to one manifest."""

_UNIQUE_KEYS = frozenset({"schemaversion", "mediatype", "config", "layers", "manifests", "fslayers", "digest", "size", "platform", "urls"})


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image (or artifact) manifest: one config and its layers."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]

    @classmethod
    def parse(cls, raw: bytes, media_type: str) -> Manifest:
        """Read bytes that a descriptor or header calls `media_type`; raises InvalidContent when they are not unambiguously that."""
        fields = _read_document(raw, media_type)
        if not mediatypes.is_manifest(media_type):
            raise InvalidContent(f"media-type: expected a manifest type but found {media_type}")
        if "manifests" in fields or mediatypes.is_index(fields.text("mediaType")):
            raise InvalidContent(f"media-type: expected manifest but found index ({media_type})")
        _check_stated_type(fields, media_type)
        if fields.value("config") is None:
            raise InvalidContent("manifest has no config")
        _check_subject(fields)
        return cls(media_type, Descriptor.from_json(fields.value("config")), _descriptors(fields, "layers"))

    @property
    def is_pseudo(self) -> bool:
        """Whether it has layers and none is a file system layer, as with attestations, charts and artifacts (moby's IsPseudoImage)."""
        return bool(self.layers) and not any(mediatypes.is_layer(layer.media_type) for layer in self.layers)


@dataclass(frozen=True, slots=True)
class Index:
    """An index or manifest list."""

    media_type: str
    manifests: tuple[Descriptor, ...]

    @classmethod
    def parse(cls, raw: bytes, media_type: str) -> Index:
        """Read bytes that a descriptor or header calls `media_type`; raises InvalidContent when they are not unambiguously that."""
        fields = _read_document(raw, media_type)
        if not mediatypes.is_index(media_type):
            raise InvalidContent(f"media-type: expected an index type but found {media_type}")
        if "config" in fields or "layers" in fields or mediatypes.is_manifest(fields.text("mediaType")):
            raise InvalidContent(f"media-type: expected index but found manifest ({media_type})")
        _check_stated_type(fields, media_type)
        if "manifests" not in fields:
            raise InvalidContent("index has no manifests")
        _check_subject(fields)
        return cls(media_type, _descriptors(fields, "manifests"))


def schema1_removed(name: str = "") -> InvalidContent:
    """The error for schema 1 images, in Docker's words; `name` is the canonical name of the image if it is known."""
    advice = f" Suggest the author of {name} to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2." if name else ""
    return InvalidContent(
        "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed."
        f"{advice} More information at https://docs.docker.com/go/deprecated-image-specs/"
    )


def _read_document(raw: bytes, media_type: str) -> Fields:
    """Read what both kinds share, and refuse schema 1 under any name."""
    if media_type in mediatypes.SCHEMA1:
        raise schema1_removed()
    if len(raw) > MAX_MANIFEST_BYTES:
        raise InvalidContent(f"manifest of {len(raw)} bytes is larger than {MAX_MANIFEST_BYTES} bytes")
    fields = Fields(decode(raw, unique=_UNIQUE_KEYS), "Manifest")
    if "fsLayers" in fields:
        raise InvalidContent("media-type: schema 1 not supported")
    fields.integer("schemaVersion")  # whatever it is, it is a number
    return fields


def _check_stated_type(fields: Fields, media_type: str) -> None:
    stated = fields.text("mediaType")
    if stated not in ("", media_type):
        raise InvalidContent(f"media-type: expected {media_type} but the document states {stated}")


def _check_subject(fields: Fields) -> None:
    if fields.value("subject") is not None:
        Descriptor.from_json(fields.value("subject"))


def _descriptors(fields: Fields, name: str) -> tuple[Descriptor, ...]:
    return tuple(Descriptor.from_json(item) for item in fields.array(name) or ())


def choose_manifests(listed: Sequence[Descriptor], matcher: PlatformMatcher) -> tuple[Descriptor, ...]:
    """The manifest (or nested index) for the platform, followed by its attestation if it has one; empty if none fits."""
    chosen = best_manifest((child for child in listed if _is_manifest(child)), matcher)
    return () if chosen is None else (chosen, *attestations_of([chosen], listed))


def wanted_manifests(listed: Sequence[Descriptor], matcher: PlatformMatcher) -> list[Descriptor]:
    """Everything that an index lists for a matching platform, or without a platform, followed by their attestations."""
    wanted = [child for child in listed if is_wanted(child, matcher)]
    return wanted + attestations_of(wanted, listed)


def is_wanted(child: Descriptor, matcher: PlatformMatcher) -> bool:
    """Whether an index lists this for a matching platform, or without a platform."""
    return child.platform is None or matcher.matches(child.platform)


def best_manifest(children: Iterable[Descriptor], matcher: PlatformMatcher) -> Descriptor | None:
    """The one that an index lists for the best platform, else the first that it lists without a platform."""
    children = list(children)
    chosen = best_match(((child, child.platform) for child in children if child.platform), matcher)
    return chosen or next((child for child in children if child.platform is None), None)


def _is_manifest(child: Descriptor) -> bool:
    return mediatypes.is_manifest(child.media_type) or mediatypes.is_index(child.media_type)
