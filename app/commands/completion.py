"""`stowage completion SHELL`: print the shell's completion of this command line."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction

from stowage.app.commands import add_command

_EXAMPLES = """  bash:  stowage completion bash > ~/.local/share/bash-completion/completions/stowage
  zsh:   stowage completion zsh > ~/.zfunc/_stowage      with ~/.zfunc in fpath before compinit
  fish:  stowage completion fish > ~/.config/fish/completions/stowage.fish"""


def add(commands: _SubParsersAction[ArgumentParser], _: ArgumentParser) -> None:
    """Declare the command."""
    parser = add_command(commands, "completion", "print a script that completes this command line in a shell", examples=_EXAMPLES)
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    parser.set_defaults(run=run, reads_settings=False)


def run(_: None, options: Namespace) -> int:
    """Print the script, which is made from the parser of the command line."""
    import shtab

    print(shtab.complete(options.parser, shell=options.shell))
    return 0
