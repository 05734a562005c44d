"""Which images a list or a prune includes: the filters that depend on one record and its manifests.

Source: moby daemon/containerd/image_list.go (setupFilters, setupLabelFilter).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stowage.services.errors import InvalidParameter
from stowage.services.filters import Filters, compile_glob, is_glob
from stowage.services.metadata.records import ImageRecord, Kind
from stowage.services.moments import parse_moment
from stowage.services.oci.attestation import is_reference
from stowage.services.oci.reference import Reference
from stowage.services.store.resolve import is_dangling
from stowage.services.store.summary import PresentManifests, walk_manifests

Predicate = Callable[[ImageRecord], bool]
LabelCheck = Callable[[Mapping[str, str]], bool]

_MAX_LABEL_BYTES = 4096
_SHOWN_KEY_BYTES = 64
_MAX_GLOBS = 100
"""Limit of patterns in a request: each takes some time for every image, while any number of whole names takes none."""


def select_records(filters: Filters, manifests: PresentManifests, now: int) -> list[Predicate]:
    """The predicates of `until`, `label`, `label!`, `dangling` and `reference`; raises InvalidParameter for a value that makes no sense."""
    predicates = [_stored_before(_moment(value, now)) for value in filters.get("until")]
    if checks := [_label_check(text, negated=name == "label!") for name in ("label", "label!") for text in filters.get(name)]:
        predicates.append(lambda record: _any_labels(record, manifests, checks))
    if "dangling" in filters:
        wanted = filters.boolean("dangling", False)
        predicates.append(lambda record: is_dangling(record) == wanted)
    if patterns := filters.get("reference"):
        predicates.append(named_like(patterns))
    return predicates


def _moment(value: str, now: int) -> int:
    try:
        return parse_moment(value, now)
    except InvalidParameter as exc:
        raise InvalidParameter(f"invalid value for 'until' filter: {exc}") from exc


def _stored_before(moment: int) -> Predicate:
    return lambda record: record.created_at < moment


def _label_check(text: str, *, negated: bool) -> LabelCheck:
    """Read `key`, `key=value` or `key!=value`; a negated check holds if the plain one does not."""
    key, equals, value = text.partition("=")
    total = len(key.encode()) + len(value.encode())
    if total > _MAX_LABEL_BYTES:
        shown = key.encode()[:_SHOWN_KEY_BYTES].decode("utf-8", "replace")
        raise InvalidParameter(
            f"label key and value length ({total} bytes) greater than maximum size ({_MAX_LABEL_BYTES} bytes), "
            f"key: {shown}: invalid argument"
        )
    if key.endswith("!"):
        key, negated = key[:-1], not negated
    if equals:
        return lambda labels: (labels.get(key) == value) != negated
    return lambda labels: (key in labels) != negated


def _any_labels(record: ImageRecord, manifests: PresentManifests, checks: list[LabelCheck]) -> bool:
    """Whether the labels of one present platform pass every check; attestations do not count."""
    for descriptor in walk_manifests(record.target, manifests):
        manifest = manifests.get(descriptor.digest)
        if manifest is None or manifest.kind is not Kind.IMAGE or is_reference(descriptor):
            continue
        if all(check(manifest.labels or {}) for check in checks):
            return True
    return False


def named_like(patterns: tuple[str, ...]) -> Predicate:
    """Match the familiar and the canonical name, each with and without its tag. A malformed pattern matches nothing.

    Raises InvalidParameter for a pattern that is too long, and for too many.
    """
    names = {pattern for pattern in patterns if not is_glob(pattern)}
    wild = [pattern for pattern in patterns if is_glob(pattern)]
    if len(wild) > _MAX_GLOBS:
        raise InvalidParameter(f"invalid filter: more than {_MAX_GLOBS} patterns; use fewer filters at a time")
    globs = [glob for glob in map(compile_glob, wild) if glob]

    def is_match(record: ImageRecord) -> bool:
        reference = Reference.parse(record.name)
        forms = (reference.familiar, reference.familiar_name, str(reference.tagged()), reference.name)
        return not names.isdisjoint(forms) or any(glob.fullmatch(form) for glob in globs for form in forms)

    return is_match
