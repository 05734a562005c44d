"""The command `stowage`: serve, verify, gc, db upgrade.

Exit status 0 for success, 1 for damage or failure, 2 for wrong usage or settings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial

from stowage.logs import make_records_safe
from stowage.server.serving import serve
from stowage.services.errors import EngineError
from stowage.services.gc.collector import collect_garbage
from stowage.services.gc.verify import FindingKind, verify_store
from stowage.services.metadata.store import upgrade
from stowage.settings import Config, ConfigError
from stowage.wiring import open_engine


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command with the settings from the environment."""
    make_records_safe()
    command: Callable[[Config], int] = _parser().parse_args(arguments).run
    try:
        return command(Config.from_environ())
    except ConfigError as exc:
        print(f"stowage: {exc}", file=sys.stderr)
        return 2
    except EngineError as exc:
        print(f"stowage: {exc}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("stowage", description="An image-only Docker Engine. Settings: STOWAGE_* in the environment.")
    commands = parser.add_subparsers(required=True)
    commands.add_parser("serve", help="migrate the database and serve").set_defaults(run=_serve)
    verify = commands.add_parser("verify", help="hash every blob again and check that every image is whole")
    verify.add_argument(
        "--deep", dest="run", action="store_const", default=_verify, const=partial(_verify, deep=True), help="also inflate every layer"
    )
    commands.add_parser("gc", help="remove what no image and no running transfer needs").set_defaults(run=_collect)
    database = commands.add_parser("db", help="the database").add_subparsers(required=True)
    database.add_parser("upgrade", help="migrate the database to this version").set_defaults(run=_upgrade)
    return parser


def _serve(config: Config) -> int:
    serve(config)
    return 0


def _verify(config: Config, *, deep: bool = False) -> int:
    """Print every finding. Only damage makes the command fail; leftovers do not."""
    _require_store(config)
    damaged = 0
    with open_engine(config) as engine:
        for finding in verify_store(engine.metadata, engine.content, deep=deep):
            print(f"{finding.kind}: {finding.sentence}")
            damaged += finding.kind is FindingKind.DAMAGE
    print(f"{damaged} damaged" if damaged else "every image is whole")
    return 1 if damaged else 0


def _collect(config: Config) -> int:
    _require_store(config)
    with open_engine(config) as engine:
        swept = collect_garbage(engine.metadata, engine.content)
    print(f"removed {len(swept.blobs)} blobs, freed {swept.bytes} bytes")
    return 0


def _upgrade(config: Config) -> int:
    config.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    upgrade(config.database_url)
    return 0


def _require_store(config: Config) -> None:
    """Raise ConfigError if there is no store, rather than create an empty one."""
    if not config.root.is_dir():
        raise ConfigError(f"STOWAGE_ROOT: there is no store in {config.root}.")


if __name__ == "__main__":
    sys.exit(main())
