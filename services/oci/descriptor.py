"""Content descriptors: what something is, its digest and its size; and BuildKit's attestations, which two annotations make of a descriptor.

An attestation is a manifest that an index lists beside the image manifest that it describes: `vnd.docker.reference.type` is
`attestation-manifest`, and `vnd.docker.reference.digest` is the digest of its subject.

Source: OCI image spec descriptor.md; the order of fields on the wire is Go's (specs-go/v1/descriptor.go). BuildKit
docs/attestations/attestation-storage.md; moby daemon/containerd/image_manifest.go and image_pull.go (referrersList).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from stowage.services.errors import InvalidContent, InvalidDigest
from stowage.services.oci import mediatypes
from stowage.services.oci.digest import Digest
from stowage.services.oci.gojson import Fields
from stowage.services.oci.mediatypes import MAX_TYPE
from stowage.services.oci.platform import Platform


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference to content; an instance always has a well-formed digest and a size of zero or more bytes."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    urls: tuple[str, ...] = ()
    platform: Platform | None = None
    artifact_type: str = ""
    data: str = ""

    @classmethod
    def from_json(cls, value: object) -> Descriptor:
        """Read a descriptor object; `data` stays base64.

        Raises InvalidContent or InvalidDigest on a missing digest or size, wrong type, negative size or bad digest. A media type may be
        absent, as in containerd: it is then the empty string, which is not a known type.
        """
        fields = Fields(value, "Descriptor")
        if fields.value("size") is None:
            raise InvalidContent("descriptor has no size")
        size = fields.integer("size")
        if size < 0:
            raise InvalidContent(f"descriptor has a negative size: {size}")
        platform = fields.mapping("platform")
        return cls(
            media_type=fields.text("mediaType"),
            digest=Digest.parse(fields.text("digest")),
            size=size,
            annotations=fields.text_mapping("annotations") or {},
            urls=fields.texts("urls") or (),
            platform=None if platform is None else Platform.from_json(platform),
            artifact_type=fields.text("artifactType"),
            data=_checked_base64(fields.text("data")),
        )

    @property
    def text_size(self) -> int:
        """How many characters its types, annotations, URLs and data have, which no specification limits."""
        texts = (self.media_type, self.artifact_type, self.data, *self.urls, *self.annotations.keys(), *self.annotations.values())
        return sum(map(len, texts))

    def to_json(self) -> dict[str, object]:
        """mediaType, digest, size, urls, annotations, data, platform, artifactType; empty optional fields left out."""
        written: dict[str, object] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.urls:
            written["urls"] = list(self.urls)
        if self.annotations:
            written["annotations"] = dict(sorted(self.annotations.items()))
        if self.data:
            written["data"] = self.data
        if self.platform is not None:
            written["platform"] = self.platform.to_json()
        if self.artifact_type:
            written["artifactType"] = self.artifact_type
        return written


def _checked_base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidContent("descriptor has data that is not base64") from exc
    return text


_TYPE = "vnd.docker.reference.type"
_SUBJECT = "vnd.docker.reference.digest"
_ATTESTATION = "attestation-manifest"


def is_reference(descriptor: Descriptor) -> bool:
    """Whether this is listed only because of another manifest, as an attestation or anything else, and so is not an image."""
    return _TYPE in descriptor.annotations


def subject_of(descriptor: Descriptor) -> Digest | None:
    """The manifest that a reference describes; None if it names none."""
    try:
        return Digest.parse(descriptor.annotations.get(_SUBJECT, ""))
    except InvalidDigest:
        return None


def trimmed(descriptor: Descriptor) -> Descriptor:
    """The descriptor with its platform and what shows whether it is a reference, and to what, without any other text that may be long."""
    annotations = {key: descriptor.annotations[key][:MAX_TYPE] for key in (_TYPE, _SUBJECT) if key in descriptor.annotations}
    return Descriptor(descriptor.media_type[:MAX_TYPE], descriptor.digest, descriptor.size, annotations, platform=descriptor.platform)


def attestations_of(subjects: Iterable[Descriptor], listed: Iterable[Descriptor]) -> list[Descriptor]:
    """The attestation of each subject that has one; of several the last one listed."""
    last = {child.annotations.get(_SUBJECT): child for child in listed if _is_attestation(child)}
    return [last[digest] for digest in (str(subject.digest) for subject in subjects) if digest in last]


def first_attestation_of(subject: Descriptor, listed: Iterable[Descriptor]) -> Descriptor | None:
    """The first attestation of this manifest that is listed, which is the one that Docker shows."""
    about = str(subject.digest)
    return next((child for child in listed if _is_attestation(child) and child.annotations.get(_SUBJECT) == about), None)


def _is_attestation(child: Descriptor) -> bool:
    return mediatypes.is_manifest(child.media_type) and child.annotations.get(_TYPE) == _ATTESTATION
