"""Lists of values are one parameter on PostgreSQL, so the statement is the same for any number."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine as Database

from stowage.services.metadata.store import MetadataStore
from tests.rows import add_blobs, digest


def test_a_statement_is_the_same_for_any_number_of_values(store: MetadataStore) -> None:
    with store.write() as tx:
        add_blobs(tx, ["a", "b"])
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(Database, "before_cursor_execute", note)
    try:
        for labels in (["a"], ["a", "b", "c"], list("abcdefg")):
            with store.read() as tx:
                assert tx.graph.present(map(digest, labels)) == {digest(label) for label in labels if label in "ab"}
    finally:
        event.remove(Database, "before_cursor_execute", note)
    assert len({statement for statement in statements if "FROM blob" in statement}) == 1
