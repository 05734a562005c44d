"""The name that a `repo` and a `tag` form field make up together.

Source: moby daemon/server/httputils/form.go (RepoTagReference).
"""

from __future__ import annotations

from stowage.services.errors import InvalidReference
from stowage.services.oci.reference import Reference


def repo_tag_reference(repo: str, tag: str) -> Reference | None:
    """The tagged reference to give to an image, or None if `repo` is empty.

    A tag inside `repo` counts unless `tag` is given; without either it is `latest`. Raises InvalidReference, also for a repo with a digest.
    """
    if not repo:
        return None
    reference = Reference.parse(repo)
    if reference.digest is not None:
        raise InvalidReference("cannot import digest reference")
    return reference.with_tag(tag) if tag else reference.tagged()
