"""Who may see and change what through the page and its facts: the one place that decides it.

Whoever is served may see everything so far. Rights per repository will be applied here, and nowhere else: every view of the page and of its
facts takes its engine from `visible` or `changeable`.
"""

from __future__ import annotations

from typing import cast

from flask import current_app, request

from stowage.blueprints.rendering.token import require_token
from stowage.blueprints.request import engine
from stowage.blueprints.streaming import TRANSFERS
from stowage.services.engine import Engine
from stowage.services.errors import Forbidden
from stowage.services.system.transfers import Transfers
from stowage.services.transfer_board import Transfer

PAGE_MODE = "stowage.page"
"""Key of the application's extensions: what the page may do: off, read or write."""


def visible() -> Engine:
    """The engine with what the sender of this request may see."""
    return engine()


def visible_transfers() -> list[Transfer]:
    """The running transfers that the sender of this request may see."""
    return _transfers().find()


def end_transfer(identifier: str) -> None:
    """End one of them; the caller has checked that the sender may change anything. Raises NotFound."""
    _transfers().end(identifier)


def changeable(token: str) -> Engine:
    """The engine with what the sender of this form, which has this token, may change.

    Raises Forbidden unless STOWAGE_UI is `write` and the form comes from a page of this service.
    """
    require_write()
    require_token(request, token)
    return engine()


def require_write() -> None:
    """Raise Forbidden unless the page may change the store."""
    if not can_write():
        raise Forbidden("this page only reads: set STOWAGE_UI to write to tag, delete and prune here")


def can_write() -> bool:
    """Whether the page may change the store."""
    return bool(current_app.extensions[PAGE_MODE] == "write")


def has_page() -> bool:
    """Whether there is a page."""
    return bool(current_app.extensions[PAGE_MODE] != "off")


def _transfers() -> Transfers:
    return cast("Transfers", current_app.extensions[TRANSFERS])
