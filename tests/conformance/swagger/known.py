"""Where answers are not as moby's description says, and why they stay so; one that is not needed in one of its versions fails the test."""

from __future__ import annotations

from dataclasses import dataclass

from tests.conformance.swagger.requests import (
    AUTH,
    CREATE,
    DELETE,
    DF,
    DISTRIBUTION,
    EVENTS,
    HISTORY,
    INFO,
    INSPECT,
    LIST,
    LOAD,
    PING,
    PRUNE,
    PUSH,
    SAVE,
    SAVE_ALL,
    SEARCH,
)


@dataclass(frozen=True, slots=True)
class Known:
    """Each of these problems in each of these operations, at every version from `since` to before `until`."""

    reason: str
    operations: tuple[str, ...]
    problems: tuple[str, ...]
    since: str = "1.45"
    until: str = "1.99"


BAD_REQUEST = "moby's handlers answer 400 to what they cannot read, which its file does not list"
NOT_FOUND = "moby's handlers answer 404 to what is not there, which its file does not list"
EMPTY = "Go writes an empty list or map as null"
ERROR_TWICE = "moby still writes an error also as text (daemon/internal/streamformatter)"
READERS = (LIST, INSPECT, HISTORY, SAVE, DELETE, PRUNE, CREATE, PUSH, SEARCH, DISTRIBUTION, AUTH, DF)
NO_LABELS = ("ImageSummary.Labels is null",)
NO_CONFIG = tuple(f"ContainerConfig.{part} is null" for part in ("Cmd", "Entrypoint", "Env", "Labels", "Volumes"))
NO_INFO = ("PluginsInfo.Authorization is null", "SystemInfo.GenericResources is null")
NO_REGISTRIES = tuple(f"RegistryServiceConfig.AllowNondistributableArtifacts{part} is null" for part in ("CIDRs", "Hostnames"))
DESCRIPTORS = tuple(f"OCIDescriptor.{part} is not described" for part in ("annotations", "artifactType", "data", "platform", "urls"))
OLD_LISTS = tuple(f"{DF}.{part} is not described" for part in ("BuildCache", "Containers", "Images", "LayersSize", "Volumes"))
OLD_EVENT = ("EventMessage.id is not described", "EventMessage.status is not described")

KNOWN = (
    Known(BAD_REQUEST, READERS, ("status 400 is not described",)),
    Known(BAD_REQUEST, (LOAD,), ("status 400 is not described",), since="1.48"),
    Known(NOT_FOUND, (SAVE, SAVE_ALL, DISTRIBUTION), ("status 404 is not described",)),
    Known("moby has no such header without a builder", (PING, "HEAD /_ping"), ("header Builder-Version is missing",)),
    Known("moby's file says application/jsonl since 1.52", (EVENTS,), ("application/jsonl instead of application/json",), since="1.52"),
    # Empty values.
    Known(EMPTY, (HISTORY,), (f"{HISTORY} is null", f"{HISTORY}[].Tags is null")),
    Known(EMPTY, (LIST,), ("ImageProperties.Containers is null",), since="1.47"),
    Known(EMPTY, (INSPECT,), ("ImageProperties.Containers is null",), since="1.48"),
    Known(EMPTY, (INSPECT,), NO_CONFIG, until="1.52"),
    Known("moby's snapshotters have no data", (INSPECT,), ("GraphDriverData.Data is null",), until="1.52"),
    Known("moby shows no labels where it has no platform to show", (LIST, DF), NO_LABELS),
    Known("moby leaves out what a chart has not", (INSPECT,), ("ImageInspect.RootFS.Type is missing",)),
    Known(EMPTY, (INFO,), NO_INFO),
    Known("moby says null to older clients of settings that are gone", (INFO,), NO_REGISTRIES, until="1.47"),
    Known(EMPTY, ("GET /volumes",), ("VolumeListResponse.Warnings is null",)),
    Known(EMPTY, ("POST /containers/prune",), ("POST /containers/prune.ContainersDeleted is null",)),
    Known(EMPTY, ("POST /networks/prune",), ("POST /networks/prune.NetworksDeleted is null",)),
    Known(EMPTY, ("POST /build/prune",), ("POST /build/prune.CachesDeleted is null",)),
    # Fields of another version.
    Known("moby's manifests had whole descriptors before its file", (LIST,), DESCRIPTORS, since="1.47", until="1.48"),
    Known("moby lists images here as its newest version does", (DF,), ("ImageSummary.Descriptor is not described",), until="1.48"),
    Known("moby keeps the old lists where `verbose` is not asked for", (DF,), OLD_LISTS, since="1.52"),
    Known("moby keeps fields that its file lost at 1.22", (EVENTS,), OLD_EVENT, until="1.52"),
    # Lines of progress.
    Known("moby hides the counts of a layer that is complete", (CREATE,), ("ProgressDetail.hidecounts is not described",)),
    Known("moby's file forgot which layer a line is about", (PUSH,), ("PushImageInfo.id is not described",)),
    Known("the last line is as in moby's other image store", (PUSH,), ("PushImageInfo.aux is not described",)),
    Known("moby's file forgot how a push fails", (PUSH,), ("PushImageInfo.errorDetail is not described",), until="1.48"),
    Known(ERROR_TWICE, (CREATE,), ("CreateImageInfo.error is not described",), since="1.52"),
    Known(ERROR_TWICE, (PUSH,), ("PushImageInfo.error is not described",), since="1.52"),
    Known(ERROR_TWICE, (LOAD,), ("BuildInfo.error is not described",), since="1.52"),
)


def known_problems(version: str) -> set[tuple[str, str]]:
    """Operation and problem of all that is known at this version."""
    return {
        (operation, problem)
        for known in KNOWN
        if known.since <= version < known.until
        for operation in known.operations
        for problem in known.problems
    }


UNABLE = (
    "POST /build",
    "POST /commit",
    "POST /containers/create",
    "POST /networks/create",
    "POST /plugins/create",
    "GET /plugins/privileges",
    "POST /plugins/pull",
    "POST /session",
    "POST /swarm/init",
    "POST /swarm/join",
    "POST /volumes/create",
)
"""What is 501, which moby's file does not list, since this engine has images only."""
