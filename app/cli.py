"""The command line `stowage`.

Exit status 0 for success, 1 for damage or failure, 2 for wrong usage or settings.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from stowage.commands import blobs, db, gc, push_all, save, serve, verify
from stowage.logs import make_records_safe
from stowage.services.errors import EngineError
from stowage.settings import Config, ConfigError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command with the settings from the environment, some of which are also options."""
    make_records_safe()
    options = _parser().parse_args(arguments)
    run: Callable[[Config, argparse.Namespace], int] = options.run
    try:
        return run(_config(options), options)
    except ConfigError as exc:
        print(f"stowage: {exc}", file=sys.stderr)
        return 2
    except EngineError as exc:
        print(f"stowage: {exc}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("stowage", description="An image-only Docker Engine. Settings: STOWAGE_* in the environment.")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--root", metavar="DIR", help="folder of the store, instead of STOWAGE_ROOT")
    commands = parser.add_subparsers(required=True)
    for command in (serve, save, push_all, blobs, verify, gc, db):
        command.add(commands, common)
    return parser


def _config(options: argparse.Namespace) -> Config:
    environ = dict(os.environ)
    if options.root is not None:
        environ["STOWAGE_ROOT"] = options.root
    return Config.from_environ(environ)
