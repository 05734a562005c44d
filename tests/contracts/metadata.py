"""What tests of the metadata store begin with, and look at."""

from __future__ import annotations

from stowage.services.oci.digest import Digest
from tests.rows import digest

ALIVE = {"alive": 60, "expires": 600}


def digests(*labels: str) -> set[Digest]:
    return {digest(label) for label in labels}
