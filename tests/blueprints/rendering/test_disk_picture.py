"""The disk as a treemap."""

from __future__ import annotations

import pytest

from stowage.blueprints.rendering.disk_picture import Box, draw_disk
from stowage.services.metadata.usage import Amount, RepositoryUse
from stowage.services.system.disk import DiskPicture


def label(repository: str, width: float) -> str:
    """The label of the only part of a disk, in a picture of this width."""
    none = Amount()
    use = (RepositoryUse(repository, 1, 500),)
    disk = DiskPicture(1, Amount(1, 500), none, none, none, none, {}, 0, 0, use, (), ())
    ((name, *_),) = [tile.lines for tile in draw_disk(disk, Box(0, 0, width, 100))]
    return name


@pytest.mark.parametrize(
    ("repository", "width", "shown"),
    [
        ("127.0.0.1:5155/acme/shop", 300, "127.0.0.1:5155/acme/shop"),
        ("127.0.0.1:5155/acme/shop", 150, "acme/shop"),
        ("127.0.0.1:5155/acme/shop", 70, "acme/s…"),
        ("localhost/shop", 70, "shop"),
        ("docker.io/acme/production", 70, "acme/p…"),
    ],
)
def test_a_label_that_is_too_long_loses_the_host_first(repository: str, width: float, shown: str) -> None:
    assert label(repository, width) == shown
