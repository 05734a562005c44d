"""Stores whose calls are timed, whatever they are made of."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, cast

from stowage.services.content.protocol import ContentStore
from stowage.services.errors import Damaged, Internal, OutOfSpace, Unavailable
from stowage.services.metadata.protocol import MetadataStore

Note = Callable[[str, float, str], None]
"""Called with the name of a call, its seconds, and the class of the store's error, empty if there was none."""


def timed_metadata(store: MetadataStore, note: Note, swept: Callable[[], None]) -> MetadataStore:
    """The store with its transactions timed, from their beginning to their end; `swept` is called when a sweep has ended."""

    def note_sweep(call: Callable[[], None]) -> Callable[[], None]:
        def counted() -> None:
            call()
            swept()

        return counted

    return cast(MetadataStore, _Timed(store, {name: _whole(name, note) for name in ("read", "write")} | {"note_sweep": note_sweep}))


def timed_content(store: ContentStore, note: Note, removed: Callable[[int], None]) -> ContentStore:
    """The store with the calls timed that wait for the disk; `removed` is called with the size of a blob or partial that was removed."""

    def ingest(call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **options: _Ingest(call(*arguments, **options), note)

    def delete(call: Callable[..., Any]) -> Callable[..., Any]:
        def delete_blobs(digests: Any) -> Any:
            sizes = call(digests)
            for size in sizes.values():
                removed(size)
            return sizes

        return _call("delete", note)(delete_blobs)

    def discard(call: Callable[..., Any]) -> Callable[..., Any]:
        def discard_partial(key: str) -> int:
            if size := call(key):
                removed(size)
            return int(size)

        return discard_partial

    wrappers = {
        "ingest": ingest,
        "delete": delete,
        "discard_partial": discard,
        "open": _call("open", note),
        "publish": _entry("publish", note),
    }
    return cast(ContentStore, _Timed(store, wrappers))


class _Timed:
    """An object, some of whose methods are wrapped."""

    def __init__(self, inner: Any, wrappers: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]]) -> None:
        self._inner = inner
        for name, wrap in wrappers.items():
            setattr(self, name, wrap(getattr(inner, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Ingest:
    """The context of an ingest, whose commit is timed."""

    def __init__(self, inner: AbstractContextManager[Any], note: Note) -> None:
        self._inner, self._note = inner, note

    def __enter__(self) -> Any:
        return _Timed(self._inner.__enter__(), {"commit": _call("commit", self._note)})

    def __exit__(self, *failure: Any) -> bool | None:  # noqa: PYI036 - passed on as it is
        return self._inner.__exit__(*failure)


class _Context:
    """A context that is timed, with or without its body."""

    __slots__ = ("_began", "_inner", "_name", "_note", "_with_body")

    def __init__(self, inner: AbstractContextManager[Any], name: str, note: Note, *, with_body: bool) -> None:
        self._inner, self._name, self._note, self._with_body = inner, name, note, with_body

    def __enter__(self) -> Any:
        self._began = time.monotonic()
        try:
            entered = self._inner.__enter__()
        except Exception as exc:
            self._note(self._name, time.monotonic() - self._began, _class(exc))
            raise
        if not self._with_body:
            self._note(self._name, time.monotonic() - self._began, "")
        return entered

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool | None:
        try:
            return self._inner.__exit__(kind, error, trace)
        except Exception as exc:
            error = exc
            raise
        finally:
            if self._with_body:
                self._note(self._name, time.monotonic() - self._began, _class(error))


def _whole(name: str, note: Note) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return lambda call: lambda: _Context(call(), name, note, with_body=True)


def _entry(name: str, note: Note) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return lambda call: lambda *arguments, **options: _Context(call(*arguments, **options), name, note, with_body=False)


def _call(name: str, note: Note) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def wrap(call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            began, error = time.monotonic(), ""
            try:
                return call(*arguments)
            except Exception as exc:
                error = _class(exc)
                raise
            finally:
                note(name, time.monotonic() - began, error)

        return timed

    return wrap


def _class(error: BaseException | None) -> str:
    """The class of an error of the store itself, else empty. Others only pass through it, such as a blob that is not found."""
    is_own = isinstance(error, (Internal, OutOfSpace, Unavailable)) and not isinstance(error, Damaged)
    return type(error).__name__ if is_own else ""
