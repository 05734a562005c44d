"""What changed between API 1.45 and later versions in the shapes that Stowage answers with.

Sources: moby api/docs/CHANGELOG.md, api/swagger.yaml, and the structs of api/types, which decide whether an empty value is null or left
out. What a containerd store or this service never has is not here: devices, firewalls, signatures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Schema = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
ANY_OBJECT: Schema = {"type": "object"}


def ref(definition: str) -> Schema:
    return {"$ref": definition}


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def record(properties: Mapping[str, Schema]) -> Schema:
    """An object that has all of these."""
    return {"type": "object", "properties": properties, "required": list(properties)}


@dataclass(frozen=True, slots=True)
class Change:
    """Properties of a definition that came or went; of those that came, `required` are in every answer of this engine."""

    since: str
    definition: str
    added: Mapping[str, Schema] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


_DESCRIPTOR = {"urls": array(TEXT), "annotations": TEXTS, "data": TEXT, "platform": ref("OCIPlatform"), "artifactType": TEXT}
_MANIFEST = {
    "ID": TEXT,
    "Descriptor": ref("OCIDescriptor"),
    "Available": FLAG,
    "Size": record({"Content": INTEGER, "Total": INTEGER}),
    "Kind": {"type": "string", "enum": ["image", "attestation", "unknown"]},
}
_IMAGE_DATA = {"Platform": ref("OCIPlatform"), "Containers": array(TEXT), "Size": record({"Unpacked": INTEGER})}
_USAGE = {"ActiveCount": INTEGER, "TotalCount": INTEGER, "Reclaimable": INTEGER, "TotalSize": INTEGER}
_CONTAINER_ONLY = (
    *("Hostname", "Domainname", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce", "Image"),
    *("NetworkDisabled", "MacAddress", "StopTimeout"),
)

CHANGES = (
    # At 1.45: errors of the file that moby corrected later.
    Change("1.45", "ImageSummary", removed=("VirtualSize",)),
    Change("1.45", "ImageInspect", removed=("VirtualSize",)),
    Change("1.45", "SystemInfo", {"Isolation": {"type": "string", "enum": ["", "default", "hyperv", "process"]}}),
    Change("1.47", "ImageManifestSummary", _MANIFEST, tuple(_MANIFEST)),
    Change("1.47", "ImageManifestSummary", {"ImageData": ref("ImageProperties"), "AttestationData": record({"For": TEXT})}),
    Change("1.47", "ImageProperties", _IMAGE_DATA, tuple(_IMAGE_DATA)),
    Change("1.47", "ImageSummary", {"Manifests": array(ref("ImageManifestSummary"))}),
    Change("1.48", "OCIDescriptor", _DESCRIPTOR),
    Change("1.48", "ImageSummary", {"Descriptor": ref("OCIDescriptor")}, ("Descriptor",)),
    Change("1.48", "ImageInspect", {"Descriptor": ref("OCIDescriptor")}, ("Descriptor",)),
    Change("1.48", "ImageInspect", {"Manifests": array(ref("ImageManifestSummary"))}),
    Change("1.48", "PushImageInfo", {"errorDetail": ref("ErrorDetail")}),
    Change("1.49", "Commit", removed=("Expected",)),
    Change("1.49", "RegistryServiceConfig", removed=("AllowNondistributableArtifactsCIDRs", "AllowNondistributableArtifactsHostnames")),
    Change("1.50", "ContainerConfig", removed=_CONTAINER_ONLY),  # here the config of an image, which got a definition of its own
    Change("1.50", "SystemInfo", removed=("BridgeNfIptables", "BridgeNfIp6tables")),
    Change("1.52", "ImageInspect", removed=("DockerVersion", "Parent", "GraphDriver")),  # the last: in a containerd store
    Change("1.52", "SystemInfo", removed=("KernelMemoryTCP",)),
    Change("1.52", "CreateImageInfo", removed=("error", "progress")),
    Change("1.52", "PushImageInfo", removed=("error", "progress")),
    Change("1.52", "BuildInfo", removed=("error", "progress")),
    Change("1.52", "ImageDiskUsage", {**_USAGE, "Items": array(ref("ImageSummary"))}),
    Change("1.52", "EmptyDiskUsage", {}),
    Change("1.52", "GET /system/df", removed=("LayersSize", "Images", "Containers", "Volumes", "BuildCache")),
    Change("1.52", "GET /system/df", {"ImageUsage": ref("ImageDiskUsage")}),
    Change("1.52", "GET /system/df", dict.fromkeys(("ContainerUsage", "VolumeUsage", "BuildCacheUsage"), ref("EmptyDiskUsage"))),
    Change("1.53", "Identity", {"Pull": array(record({"Repository": TEXT}))}),
    Change("1.53", "ImageInspect", {"Identity": ref("Identity")}),
    Change("1.54", "ImageProperties", {"Identity": ref("Identity")}),
    Change("1.55", "AttestationStatement", {"Descriptor": ref("OCIDescriptor"), "PredicateType": TEXT}, ("Descriptor", "PredicateType")),
    Change("1.55", "AttestationStatement", {"Statement": ANY_OBJECT}),
)

ERROR: Schema = {"schema": ref("ErrorResponse")}
NEW_OPERATIONS: Mapping[str, dict[str, Schema]] = {
    "GET /images/{name}/attestations": {
        "200": {"schema": array(ref("AttestationStatement"))},
        **dict.fromkeys(("400", "404", "500", "501"), ERROR),
    },
}
