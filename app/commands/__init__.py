"""One file per command of `stowage`.

Each has `add`, which declares the command and its options, and `run`, which returns the exit status. What a command needs of the
program and the services is imported in `run`: no command waits for the imports of another, and `--help` for none. By `set_defaults` a
command may also say in `cut` what a signal has left behind, with `unwinds=False` that it handles signals itself, and with
`reads_settings=False` that it works without valid settings.
"""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter, _SubParsersAction


def add_command(
    commands: _SubParsersAction[ArgumentParser], name: str, summary: str, *parents: ArgumentParser, examples: str = ""
) -> ArgumentParser:
    """Add a command whose own help repeats its one line, and shows examples and where the settings are."""
    epilog = f"examples:\n{examples}\n\n" if examples else ""
    return commands.add_parser(
        name,
        parents=parents,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"{epilog}Every setting is an environment variable: see `stowage settings` and docs/settings.md.",
        formatter_class=RawDescriptionHelpFormatter,
    )
