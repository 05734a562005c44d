"""BuildKit's attestations: manifests that an index lists beside the image manifests that they describe.

An attestation's descriptor has two annotations: `vnd.docker.reference.type`, which is `attestation-manifest`, and
`vnd.docker.reference.digest`, the digest of its subject.

Source: BuildKit docs/attestations/attestation-storage.md; moby daemon/containerd/image_manifest.go and image_pull.go (referrersList).
"""

from __future__ import annotations

from collections.abc import Iterable

from stowage.services.errors import InvalidDigest
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.mediatypes import MAX_TYPE

_TYPE = "vnd.docker.reference.type"
_SUBJECT = "vnd.docker.reference.digest"
_ATTESTATION = "attestation-manifest"


def is_reference(descriptor: Descriptor) -> bool:
    """Whether this is listed only because of another manifest, as an attestation or anything else, and so is not an image."""
    return _TYPE in descriptor.annotations


def subject_of(descriptor: Descriptor) -> Digest | None:
    """The manifest that a reference is about; None if it names none."""
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
