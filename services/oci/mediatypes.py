"""Media types of manifests, configs and layers, Docker's and OCI's, and the questions the engine asks about them.

Source: OCI image spec media-types.md; containerd core/images/mediatypes.go for which types count as a layer or a config.
"""

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"

DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_MANIFEST_V1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_MANIFEST_V1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"

MAX_TYPE = 256
"""More characters than any media type has, or any digest (RFC 6838 section 4.2)."""

INDEXES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
IMAGE_CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})
SCHEMA1 = frozenset({DOCKER_MANIFEST_V1, DOCKER_MANIFEST_V1_SIGNED})

_DOCKER_LAYERS = frozenset(
    {
        DOCKER_LAYER,
        DOCKER_LAYER_GZIP,
        DOCKER_LAYER_ZSTD,
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.erofs.layer.v1",
    }
)
_OCI_LAYER_PREFIX = "application/vnd.oci.image.layer."
_FOREIGN_PREFIXES = ("application/vnd.oci.image.layer.nondistributable.", "application/vnd.docker.image.rootfs.foreign.")
_TAR_LAYERS = frozenset(
    {
        OCI_LAYER,
        OCI_LAYER_GZIP,
        OCI_LAYER_ZSTD,
        DOCKER_LAYER,
        DOCKER_LAYER_GZIP,
        DOCKER_LAYER_ZSTD,
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    }
)


def is_index(media_type: str) -> bool:
    return media_type in INDEXES


def is_manifest(media_type: str) -> bool:
    return media_type in MANIFESTS


def is_config(media_type: str) -> bool:
    """Whether a blob of this type is an image config that can be read for platform, rootfs and history."""
    return media_type in IMAGE_CONFIGS


def is_layer(media_type: str) -> bool:
    """Whether this is a file system layer of any kind: progress is shown for it, and its manifest counts as an image."""
    return media_type.startswith(_OCI_LAYER_PREFIX) or media_type.partition("+")[0] in _DOCKER_LAYERS


def is_foreign_layer(media_type: str) -> bool:
    """Whether this layer must not be distributed; it is not pushed or saved, and may be absent."""
    return media_type.startswith(_FOREIGN_PREFIXES)


def is_tar_layer(media_type: str) -> bool:
    """Whether the uncompressed stream of this layer is a tar whose digest is a diff_id: neither encrypted nor of an unknown kind."""
    return media_type in _TAR_LAYERS
