"""Filters of the images that a list, a prune or a push includes.

The database finds candidates by its indexes; each is checked again when it is read.

Source: moby daemon/containerd/image_list.go (setupFilters, setupLabelFilter).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from stowage.services.errors import InvalidParameter
from stowage.services.filters import Filters
from stowage.services.metadata.labels import label_hash, platform_labels
from stowage.services.metadata.records import NEWEST, ImageRecord, Order, Selection, Target
from stowage.services.metadata.store import Transaction
from stowage.services.store.name_patterns import NamePatterns
from stowage.services.store.resolve import is_dangling
from stowage.services.timestamps import parse_moment

_MAX_LABEL_BYTES = 4096
_SHOWN_KEY_BYTES = 64
_MAX_HASHES = 50
"""How many labels of each kind the store is asked for; all are checked again when an image is read."""


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


@dataclass(frozen=True, slots=True)
class ImageFilter:
    """The conditions that each image, and each of its names, passes."""

    selection: Selection
    names: NamePatterns | None = None
    labels: tuple[LabelCheck, ...] = ()

    @classmethod
    def parse(cls, filters: Filters, now: int, *, part: str = "") -> ImageFilter:
        """Read `until`, `label`, `label!`, `dangling` and `reference`; names must also contain `part`.

        Raises InvalidParameter for a value that makes no sense.
        """
        moments = [_moment(value, now) for value in filters.get("until")]
        labels = tuple(LabelCheck.parse(text, negated=name == "label!") for name in ("label", "label!") for text in filters.get(name))
        patterns = filters.get("reference")
        selection = Selection(
            dangling=filters.boolean("dangling", False) if "dangling" in filters else None,
            stored_before=min(moments, default=None),
            labels=tuple(label_hash(check.key, check.value) for check in labels if not check.negated)[:_MAX_HASHES],
            not_labels=tuple(label_hash(check.key, check.value) for check in labels if check.negated)[:_MAX_HASHES],
        )
        return cls(selection, NamePatterns(patterns, part) if patterns or part else None, labels)

    def find(self, tx: Transaction, order: Order = NEWEST) -> array[int]:
        """The ids of the targets, in the order of a list; a few may turn out not to pass when they are read."""
        if self.names is None:
            return tx.targets.find(self.selection, order)
        return tx.targets.find(replace(self.selection, among=set(self.find_names(tx, self.names))), order)

    def find_names(self, tx: Transaction, names: NamePatterns) -> dict[str, str]:
        """The first name that matches of each target that has one, by the text of the target's digest."""
        found: dict[str, str] = {}
        for name, target in tx.targets.names(names.prefixes, self.selection, names.likes):
            if names.match(name):
                found[target] = min(name, found.get(target, name))
        return found

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
