"""`stowage deploy-files`: say where the systemd unit and the nginx site are."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction

from stowage.settings import Config


def add(commands: _SubParsersAction[ArgumentParser], _: ArgumentParser) -> None:
    """Declare the command. It needs no store."""
    parser = commands.add_parser("deploy-files", help="print the folder of stowage.service and nginx.conf")
    parser.set_defaults(run=run, root=None)


def run(_: Config, __: Namespace) -> int:
    """Print the folder's path, for scripts: `cp "$(stowage deploy-files)/nginx.conf" ...`."""
    from importlib.resources import files

    print(files("stowage.deploy"))
    return 0
