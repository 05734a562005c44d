"""Answers about one image, kept while the state of the image is the same. The state is read again after every commit to the database."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar, cast

from stowage.services.engine import Engine
from stowage.services.kept import Kept
from stowage.services.metadata.records import State
from stowage.services.metadata.store import Transaction
from stowage.services.oci.digest import Digest
from stowage.services.oci.reference import parse_any

Answer = TypeVar("Answer")

_ROW_BYTES = 320
"""Memory for the objects of a row of a state, without their texts."""
_NAME_BYTES, _NAME_COPIES = 600, 10
"""Memory for a name in an answer and its JSON: both have it as it is and with the target's digest, and JSON is kept for up to four
versions of the API.
"""
_PARSED_BYTES = 50
"""Memory for a byte of a config once it is parsed, at most."""


@dataclass(slots=True)
class _Given:
    """An answer, the state from which it was made, and a version of the database at which that was the state."""

    answer: object
    state: State
    version: object | None


_kept: Kept[Hashable, _Given] = Kept(64 << 20)


def keep_answer(engine: Engine, text: str, question: Hashable, read: Callable[[Transaction], Answer]) -> Answer:
    """What `read` returns about the image that `text` names, or the same object as before.

    `question` is everything that the answer depends on besides the image. Without a name or a whole ID in `text`, it is read each time.
    """
    version = engine.metadata.version()  # first: whatever is read now is at least as new
    given = _kept.get((question, text))
    if given is not None and version is not None and given.version is version:
        return cast("Answer", given.answer)
    parsed = parse_any(text)
    wanted = parsed if isinstance(parsed, Digest) else str(parsed.tagged())
    if given is not None and given.state == engine.metadata.state(wanted):
        given.version = version
        return cast("Answer", given.answer)
    with engine.metadata.read() as tx:
        answer, state = read(tx), tx.images.state(wanted)
    if state:
        _kept.put((question, text), _Given(answer, state, version), _weight(state))
    return answer


def _weight(state: State) -> int:
    """Bytes of memory for the state, and for an answer that has its names and a config, also as JSON; not less than it takes."""
    rows = sum(_ROW_BYTES + len(name) + len(detail) for _, name, detail, _ in state)
    names = sum(_NAME_BYTES + _NAME_COPIES * len(name) for kind, name, *_ in state if kind == "image")
    return rows + names + _PARSED_BYTES * sum(size for kind, *_, size in state if kind == "config")
