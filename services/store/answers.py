"""Answers about one image, kept while the state of the image is the same. The state is read for every request."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar, cast

from stowage.services.engine import Engine
from stowage.services.kept import Kept
from stowage.services.metadata.protocol import Transaction
from stowage.services.metadata.records import State
from stowage.services.oci.digest import Digest
from stowage.services.oci.reference import parse_any

Answer = TypeVar("Answer")

_kept: Kept[Hashable, object] = Kept(64 << 20)
_PARSED_BYTES = 50
"""Memory for a byte of a config once it is parsed, at most."""


def keep_answer(engine: Engine, text: str, question: Hashable, read: Callable[[Transaction], Answer]) -> Answer:
    """What `read` returns about the image that `text` names, or the same object as before.

    `question` is everything that the answer depends on besides the image. Without a name or a whole ID in `text`, it is read each time.
    """
    parsed = parse_any(text)
    wanted = parsed if isinstance(parsed, Digest) else str(parsed.tagged())
    kept = cast("Answer | None", _kept.get((question, wanted, engine.metadata.state(wanted))))
    if kept is not None:
        return kept
    with engine.metadata.read() as tx:
        answer, state = read(tx), tx.images.state(wanted)
    if state:
        _kept.put((question, wanted, state), answer, _weight(state))
    return answer


def _weight(state: State) -> int:
    """Bytes of memory for the state and an answer that has a config, roughly."""
    texts = sum(len(name) + len(detail) for _, name, detail, _ in state)
    return texts + _PARSED_BYTES * sum(size for kind, *_, size in state if kind == "config")
