"""The events that report what happens to images.

An event is part of the transaction that makes the change it reports, so it exists exactly if the change does, and in the same order.

Source: moby daemon/containerd/image_events.go (LogImageEvent with the labels of the image's config, logImageEvent without).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from stowage.services.engine import Engine
from stowage.services.metadata.records import Actor
from stowage.services.metadata.store import Transaction
from stowage.services.metadata.summary import any_platform, best_present, summarize_manifests
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.store.batches import batches

IMAGE = "image"
"""The type of all events."""

_LABELS_LENGTH = 64 << 10
"""Labels longer than this are left out of events, so that an image's author cannot fill the history."""

_TARGETS = 50
"""How many images are read at a time for their labels."""


class Action(StrEnum):
    """The actions on images."""

    PULL = "pull"
    PUSH = "push"
    LOAD = "load"
    SAVE = "save"
    IMPORT = "import"
    TAG = "tag"
    UNTAG = "untag"
    DELETE = "delete"
    PRUNE = "prune"


def log_image(
    tx: Transaction, engine: Engine, action: Action, actor: Digest | str, *, name: Digest | str, labels: Mapping[str, str] | None = None
) -> None:
    """Report an event of an image; its attributes are the labels, unless they are very long, and the name."""
    told = labels if labels and sum(map(len, (*labels, *labels.values()))) <= _LABELS_LENGTH else {}
    _log(tx, engine, action, Actor(str(actor), {**told, "name": str(name)}))


def log_prune(tx: Transaction, engine: Engine, freed: int) -> None:
    """Report that a prune ended, and how many bytes it freed."""
    _log(tx, engine, Action.PRUNE, Actor("", {"reclaimed": str(freed)}))


def image_labels(tx: Transaction, engine: Engine, target: Digest) -> Mapping[str, str]:
    """The labels in the config of the manifest that represents an image; none if `target` is not an image's."""
    return labels_of_images(tx, engine, [target]).get(target, {})


def labels_of_images(tx: Transaction, engine: Engine, targets: Iterable[Digest]) -> dict[Digest, Mapping[str, str]]:
    """The same for those of these digests that are an image's."""
    return labels_of_targets(tx, engine, [record.target for target in targets for record in tx.images.by_target(target, most=1)])


def labels_of_targets(tx: Transaction, engine: Engine, targets: Sequence[Descriptor]) -> dict[Digest, Mapping[str, str]]:
    """The same for each of these."""
    matcher, found = any_platform(engine.platform), dict[Digest, Mapping[str, str]]()
    for batch in batches(targets, most=_TARGETS):
        manifests = tx.graph.listed(target.digest for target in batch)
        for target in batch:
            shown = best_present(summarize_manifests(target, manifests), matcher)
            found[target.digest] = (shown and shown.facts and shown.facts.labels) or {}
    return found


def _log(tx: Transaction, engine: Engine, action: Action, actor: Actor) -> None:
    tx.events.append(time=engine.clock(), event_type=IMAGE, action=action, actor=actor)
