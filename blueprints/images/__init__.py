"""Operations on images: one file each."""

from flask import Blueprint

from stowage.blueprints.images import (
    attestations,
    create,
    delete,
    history,
    inspect,
    load,
    prune,
    push,
    save,
    save_several,
    save_since,
    search,
    tag,
)
from stowage.blueprints.images import list as list_

BLUEPRINTS: tuple[Blueprint, ...] = (
    create.blueprint,
    list_.blueprint,
    inspect.blueprint,
    history.blueprint,
    attestations.blueprint,
    tag.blueprint,
    push.blueprint,
    search.blueprint,
    delete.blueprint,
    prune.blueprint,
    load.blueprint,
    save.blueprint,
    save_several.blueprint,
    save_since.blueprint,
)
