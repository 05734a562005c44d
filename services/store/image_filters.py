"""Which images a list, a prune or a push includes.

The database finds candidates by its indexes; each is checked again when it is read.

Source: moby daemon/containerd/image_list.go (setupFilters, setupLabelFilter).
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from stowage.services.errors import InvalidParameter
from stowage.services.filters import Filters, compile_glob, is_glob
from stowage.services.metadata.labels import label_hash, platform_labels
from stowage.services.metadata.protocol import Transaction
from stowage.services.metadata.records import NEWEST, ImageRecord, Order, Selection, Target
from stowage.services.moments import parse_moment
from stowage.services.oci.reference import DANGLING_PREFIX, name_forms
from stowage.services.store.resolve import is_dangling

_MAX_LABEL_BYTES = 4096
_SHOWN_KEY_BYTES = 64
_MAX_GLOBS = 100
"""Limit of patterns in a request: each takes some time for every image, while any number of whole names takes none."""
_MAX_HASHES = 50
"""How many labels of each kind the store is asked for; all are checked again when an image is read."""
_MAX_PREFIXES = 100
"""With more, all names are read instead of a range of names for each."""
_LITERAL = re.compile(r"[^*?\[\\]*")
_OFFICIAL = "docker.io/library/"


@dataclass(frozen=True, slots=True)
class LabelCheck:
    """A label, or any label with this key if `value` is None, that an image must have, or must not have if `negated`."""

    key: str
    value: str | None
    negated: bool

    @classmethod
    def parse(cls, text: str, *, negated: bool) -> LabelCheck:
        """Read `key`, `key=value` or `key!=value`, which is negated. Raises InvalidParameter if it is too long."""
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
        return cls(key, value if equals else None, negated)

    def passes(self, labels: Mapping[str, str]) -> bool:
        """Whether an image with these labels passes."""
        has = self.key in labels if self.value is None else labels.get(self.key) == self.value
        return has != self.negated


class NamePatterns:
    """Patterns of a `reference` filter: they match the familiar and the canonical name, each with and without its tag.

    A malformed pattern matches nothing. Raises InvalidParameter for a pattern that is too long, and for too many.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._whole = {pattern for pattern in patterns if not is_glob(pattern)}
        wild = [pattern for pattern in patterns if is_glob(pattern)]
        if len(wild) > _MAX_GLOBS:
            raise InvalidParameter(f"invalid filter: more than {_MAX_GLOBS} patterns; use fewer filters at a time")
        globs = [glob.pattern for glob in map(compile_glob, wild) if glob]
        self._glob = re.compile("|".join(f"(?:{glob})" for glob in globs) or "(?!)", re.DOTALL)
        prefixes = _outermost(chain.from_iterable(map(_prefixes, patterns)))
        self.prefixes = prefixes if len(prefixes) <= _MAX_PREFIXES else [""]
        """A name that matches begins with one of these."""

    def match(self, name: str) -> bool:
        """Whether a record's name matches."""
        forms = name_forms(name)
        return not self._whole.isdisjoint(forms) or any(map(self._glob.fullmatch, forms))


@dataclass(frozen=True, slots=True)
class ImageFilter:
    """The conditions that each image, and each of its names, passes."""

    selection: Selection
    names: NamePatterns | None = None
    labels: tuple[LabelCheck, ...] = ()

    @classmethod
    def parse(cls, filters: Filters, now: int) -> ImageFilter:
        """Read `until`, `label`, `label!`, `dangling` and `reference`; raises InvalidParameter for a value that makes no sense."""
        moments = [_moment(value, now) for value in filters.get("until")]
        labels = tuple(LabelCheck.parse(text, negated=name == "label!") for name in ("label", "label!") for text in filters.get(name))
        patterns = filters.get("reference")
        selection = Selection(
            dangling=filters.boolean("dangling", False) if "dangling" in filters else None,
            stored_before=min(moments, default=None),
            labels=tuple(label_hash(check.key, check.value) for check in labels if not check.negated)[:_MAX_HASHES],
            not_labels=tuple(label_hash(check.key, check.value) for check in labels if check.negated)[:_MAX_HASHES],
        )
        return cls(selection, NamePatterns(patterns) if patterns else None, labels)

    def find(self, tx: Transaction, order: Order = NEWEST) -> array[int]:
        """The ids of the targets, in the order of a list; a few may turn out not to pass when they are read."""
        if self.names is None:
            return tx.targets.find(self.selection, order)
        named = tx.targets.names(self.names.prefixes, self.selection)
        among = {target for name, target in named if self.names.match(name)}
        return tx.targets.find(replace(self.selection, among=among), order)

    def read(self, tx: Transaction, ids: Iterable[int]) -> list[Target]:
        """The targets that pass, each with those of its records that do."""
        targets = tx.targets.read(ids)
        if self._chooses_names:
            targets = [replace(target, records=tuple(filter(self._passes, target.records))) for target in targets]
        return self._with_labels(tx, [target for target in targets if target.records])

    @property
    def _chooses_names(self) -> bool:
        return self.names is not None or self.selection.dangling is not None or self.selection.stored_before is not None

    def _passes(self, record: ImageRecord) -> bool:
        before = self.selection.stored_before
        return (
            self.selection.dangling in (None, is_dangling(record))
            and (before is None or record.created_at < before)
            and (self.names is None or self.names.match(record.name))
        )

    def _with_labels(self, tx: Transaction, targets: list[Target]) -> list[Target]:
        """Those of which one present platform passes every check."""
        if not self.labels:
            return targets
        manifests = tx.graph.listed(target.digest for target in targets)
        return [
            target
            for target in targets
            if any(all(check.passes(labels) for check in self.labels) for labels in platform_labels(target.records[-1].target, manifests))
        ]


def _moment(value: str, now: int) -> int:
    try:
        return parse_moment(value, now)
    except InvalidParameter as exc:
        raise InvalidParameter(f"invalid value for 'until' filter: {exc}") from exc


def _prefixes(pattern: str) -> list[str]:
    """What a record's name begins with if it matches this pattern."""
    literal = _literal(pattern)
    repository = literal.partition("@")[0]
    head, colon, tag = repository.rpartition(":")
    if colon and "/" not in tag:
        repository = head
    ends = (":", "@") if literal == pattern or repository != literal else ("",)
    starts = [repository, f"docker.io/{repository}", _OFFICIAL + repository]
    if repository.startswith(_OFFICIAL):
        starts.append(repository.removeprefix(_OFFICIAL))
    dangling = [DANGLING_PREFIX] if _OFFICIAL.startswith(repository) else []
    return [start + end for start in starts for end in ends] + dangling


def _literal(pattern: str) -> str:
    """What a pattern begins with before its first special character."""
    match = _LITERAL.match(pattern)
    return match[0] if match else ""


def _outermost(prefixes: Iterable[str]) -> list[str]:
    """These without those that begin with another one."""
    kept: list[str] = []
    for prefix in sorted(prefixes):
        if not kept or not prefix.startswith(kept[-1]):
            kept.append(prefix)
    return kept
