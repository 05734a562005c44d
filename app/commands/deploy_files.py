"""`stowage deploy-files`: print where the files for an installation are."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction

from stowage.app.commands import add_command

_EXAMPLES = """  cp "$(stowage deploy-files)/nginx.conf" /etc/nginx/sites-available/stowage"""


def add(commands: _SubParsersAction[ArgumentParser], _: ArgumentParser) -> None:
    """Declare the command. It needs no store."""
    parser = add_command(
        commands,
        "deploy-files",
        "print the folder of the units for systemd, the site for nginx, the alerts and the dashboard",
        examples=_EXAMPLES,
    )
    parser.set_defaults(run=run, reads_settings=False)


def run(_: None, __: Namespace) -> int:
    """Print the folder's path."""
    from importlib.resources import files

    print(files("stowage.deploy"))
    return 0
