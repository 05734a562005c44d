"""`stowage copy`: copy the rows of a store, and with another content store its blobs, to an empty place."""

from __future__ import annotations

import shlex
from argparse import Namespace
from dataclasses import replace

from stowage.app import setting_fields as read
from stowage.app.content_wiring import open_copy_target
from stowage.app.holding import hold_folder, hold_folders, hold_place, require_unheld
from stowage.app.settings import Config, ConfigError
from stowage.app.terminal import ProgressLine, shown_share, shown_size
from stowage.app.wiring import open_engine
from stowage.services.content.copying import CopyTarget, begin_copy, copy_blobs, find_copied, finish_copy
from stowage.services.engine import Engine
from stowage.services.errors import Conflict
from stowage.services.metadata.copying import copy_rows, require_room
from stowage.services.metadata.store import MetadataStore, upgrade
from stowage.services.oci.digest import Digest


def copy(config: Config, options: Namespace) -> int:
    """Copy the rows, and the blobs if they are to have another place."""
    target = _target(config, options)
    with ProgressLine() as line:
        said = _copy_database(config, target, line) if options.to_content is None else _copy_store(config, target, line)
    if not said:
        return 1
    print(said if options.to_content is None else f"{said}; {_used_by(target, options.to_content)}")
    return 0


def _target(config: Config, options: Namespace) -> Config:
    """The settings of the copy. Raises ConfigError if they are not those of another store."""
    if not options.to_database:
        also = "" if options.to_content is None else ": blobs in another place need a database of their own"
        raise ConfigError(f"--to-database must name another database{also}.")
    try:
        target = replace(config, database=read.database(options.to_database))
    except ValueError as exc:
        raise ConfigError(f"--to-database {exc}.") from None
    if target.database_url == config.database_url:
        raise ConfigError("--to-database must name another database.")
    if options.to_content is None:
        return target
    try:
        target = replace(target, content=read.content(options.to_content))
    except ValueError as exc:
        raise ConfigError(f"--to-content {exc}.") from None
    if target.content in (None, config.bucket or config.content_root):
        raise ConfigError("--to-content must name another folder or bucket.")
    return target


def _copy_database(config: Config, target: Config, line: ProgressLine) -> str:
    """Hold the folders, so that no service starts, and copy every row; returns what to say at the end."""
    with open_engine(config):
        hold_folders(config)
    _require_unused(target, config)
    _make_folder(target)
    ours, theirs = hold_place(config), hold_place(target)
    place = ours or theirs
    _require_room(target, place)
    _upgrade(target, place, line)
    rows = copy_rows(
        config.database_url,
        target.database_url,
        timeout=config.database_timeout,
        place=place,
        advance=lambda done, total: line.show(f"copying tables: {done} of {total}"),
    )
    return f"copied and compared {rows} rows; to use the copy, set STOWAGE_DATABASE_URL={target.database_name}"


def _copy_store(config: Config, target: Config, line: ProgressLine) -> str:
    """Copy the blobs, and when all are there the rows; returns what to say at the end, nothing if a blob is damaged.

    An earlier try is continued. The mark of the target says that it is unfinished until everything is there.
    """
    with open_engine(config) as engine:
        hold_folders(config)
        _require_unused(target, config)
        content, store_id = open_copy_target(target), engine.metadata.store_id()
        copied = find_copied(content, store_id)
        if target.bucket is None:
            hold_folder(target.content_root, "--to-content")
        _make_folder(target)
        place = hold_place(target)
        _require_room(target, place, continues=copied is not None)
        _upgrade(target, place, line)
        owner = _identity(target, place)
        begin_copy(content, store_id, owner)
        blobs = _copy_blobs(config, engine, content, copied or {}, line)
    if blobs is None:
        return ""

    def locate(text: str) -> str:
        digest = Digest.parse(text)
        if digest not in blobs:
            raise Conflict("the store was changed while it was copied: end what uses it, and run the command again")
        return content.location(digest)

    rows = copy_rows(
        config.database_url,
        target.database_url,
        timeout=config.database_timeout,
        place=hold_place(config),
        target_place=place,
        advance=lambda done, total: line.show(f"copying tables: {done} of {total}"),
        locate=locate,
    )
    finish_copy(content, store_id, owner)
    return f"copied and verified {len(blobs)} blobs, {shown_size(sum(blobs.values()))}, and {rows} rows"


def _used_by(target: Config, content: str) -> str:
    """How to use a copy whose content is at this URL."""
    return (
        "to use the copy, set\n"
        f"STOWAGE_DATABASE_URL={shlex.quote(target.database_name if target.database_file is None else target.database_url)}\n"
        f"STOWAGE_CONTENT_URL={shlex.quote(content if target.bucket else str(target.content_root))}"
    )


def _copy_blobs(
    config: Config, engine: Engine, content: CopyTarget, copied: dict[Digest, int], line: ProgressLine
) -> dict[Digest, int] | None:
    """Copy what is not copied yet; returns all blobs, None if any is damaged."""
    with engine.metadata.read() as tx:
        blobs = tx.graph.all_blobs()
    damaged = 0
    for sentence in copy_blobs(
        engine.content,
        content,
        blobs,
        copied,
        at_once=config.concurrent_uploads,
        advance=lambda done, total: line.show(f"copying blobs: {shown_share(done, total)}"),
    ):
        line.complain(sentence)
        damaged += 1
    if not damaged:
        return blobs
    line.complain(
        f"the copy is not complete, since {damaged} of {len(blobs)} blobs could not be read. 'stowage verify' names the images that need "
        "them: load or pull these again, or delete them, and run the command again; it sends only what is not there yet"
    )
    return None


def _require_unused(target: Config, config: Config) -> None:
    if target.database_file:
        require_unheld(target.database_file.parent, config)


def _make_folder(target: Config) -> None:
    if target.database_file and target.content is not None:
        target.database_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)


def _require_room(target: Config, place: str, *, continues: bool = False) -> None:
    if target.database_file is None or target.database_file.exists():
        require_room(target.database_url, timeout=target.database_timeout, place=place, continues=continues)


def _upgrade(target: Config, place: str, line: ProgressLine) -> None:
    line.show("creating the tables")
    upgrade(target.database_url, target.platform, timeout=target.database_timeout, place=place)


def _identity(target: Config, place: str) -> str:
    metadata = MetadataStore(target.database_url, event_history=target.event_history, timeout=target.database_timeout, place=place)
    try:
        return metadata.identity()
    finally:
        metadata.close()
