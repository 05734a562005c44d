"""The command line `stowage`: every command with its options and its help, and how it ends.

Exit status 0 for success and for a service that was asked to stop, 1 for damage or failure, 2 for wrong usage or settings, and 130, 143 or
129 for another command that Ctrl-C, SIGTERM or SIGHUP has ended.

What a command needs of the program and the services is imported when it is run: no command waits for the imports of another, and `--help`
for none.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stowage import __version__
from stowage.app import stopping

if TYPE_CHECKING:
    from stowage.app.settings import Config

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_EXAMPLES = """  stowage serve                                 serve the store in ./var on ./var/stowage.sock
  stowage serve --root /srv/images --bind 127.0.0.1:2375
  stowage run -- ./job.sh                       run a command with a service of its own
  stowage verify --root /srv/images             hash every blob again

`stowage COMMAND --help` says more. Every setting is an environment variable, STOWAGE_ROOT for example. `stowage settings` prints
all of them with their values, and docs/settings.md describes them.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command with the settings from the environment, some of which are also options.

    Without arguments it takes those of the process, and handles its signals.
    """
    options = _parser().parse_args(arguments)
    try:
        if arguments is None and options.unwinds:
            stopping.raise_stopped(options.cut)
        return _run(options)
    except stopping.Stopped as exc:
        stopping.say(exc.number, options.cut)
        return exc.status
    except BrokenPipeError:  # whoever read the output, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception:  # its text may be anyone's, and a record is printable
        logging.getLogger("stowage").exception("unexpected error")
        return 1
    finally:
        if arguments is None and options.unwinds:
            stopping.end_at_once()


def _run(options: argparse.Namespace) -> int:
    from stowage.app.logs import make_records_safe
    from stowage.app.settings import Config, ConfigError, given_options
    from stowage.app.terminal import complain
    from stowage.services.errors import EngineError, InvalidContent, InvalidParameter

    make_records_safe()
    try:
        config = Config.from_environ(os.environ, given_options(vars(options))) if options.reads_settings else None
        status: int = options.run(config, options)
        print(end="", flush=True)
    except ConfigError as exc:
        complain(exc)
        return 2
    except EngineError as exc:
        complain(exc)
        return 2 if isinstance(exc, InvalidParameter) and not isinstance(exc, InvalidContent) else 1
    return status


def _parser() -> argparse.ArgumentParser:
    """The parser of every command: `run` runs it, and `cut` is what a signal has left behind. With `unwinds` it ends by an exception, and
    without `reads_settings` it needs no valid settings.
    """
    top = argparse.ArgumentParser(
        "stowage",
        description="An image-only Docker Engine.",
        epilog=f"examples:\n{_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"stowage {__version__}")
    top.set_defaults(parser=top, cut="", unwinds=True, reads_settings=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--root", metavar="DIR", help="folder of the store, instead of STOWAGE_ROOT (default: ./var)")
    commands = top.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for add in (_add_services, _add_transfers, _add_looks, _add_upkeep, _add_copy, _add_installation):
        add(commands, common)
    return top


def _add(
    commands: Commands, name: str, summary: str, *parents: argparse.ArgumentParser, examples: str = "", **defaults: Any
) -> argparse.ArgumentParser:
    """Add a command whose own help repeats its one line, and shows examples and where the settings are."""
    epilog = f"examples:\n{examples}\n\n" if examples else ""
    parser = commands.add_parser(
        name,
        parents=parents,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"{epilog}Every setting is an environment variable: see `stowage settings` and docs/settings.md.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(**defaults)
    return parser


def _in(module: str, function: str) -> Callable[[Config | None, argparse.Namespace], int]:
    """A function of a file in app/commands that gets the settings and the options, and returns the exit status."""

    def run(config: Config | None, options: argparse.Namespace) -> int:
        status: int = getattr(import_module(f"stowage.app.commands.{module}"), function)(config, options)
        return status

    return run


def _add_bind(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bind",
        metavar="ADDRESS",
        action="append",
        default=[],
        help="unix:PATH or HOST:PORT to listen on, instead of STOWAGE_BIND (default: stowage.sock in the root); may be repeated",
    )


def _add_services(commands: Commands, common: argparse.ArgumentParser) -> None:
    """`serve`, and `run`, whose service does not listen on STOWAGE_BIND: that is therefore not read, not even to be refused."""
    examples = """  stowage serve
  stowage serve --root /srv/images --bind unix:/run/user/1000/stowage.sock
  stowage serve --bind unix:/tmp/stowage.sock --bind 127.0.0.1:2375
  STOWAGE_REGISTRY_MIRRORS=https://mirror.example.org stowage serve"""
    summary = "migrate the database and serve until Ctrl-C or SIGTERM"
    _add_bind(_add(commands, "serve", summary, common, examples=examples, run=_serve, unwinds=False))

    examples = """  stowage run -- docker pull debian:trixie      status and output are those of the command
  stowage run --root images -- ./job.sh         keep the images in ./images"""
    summary = "run a command with a service of its own, as in a CI job"
    run = _add(commands, "run", summary, common, examples=examples, run=_in("run", "run"), bind=["localhost:0"], unwinds=False)
    run.add_argument("--log", metavar="FILE", help="append the service's log to this file")
    run.add_argument("command", metavar="COMMAND", nargs=argparse.PARSER, help="the command and its arguments, best after --")


def _add_transfers(commands: Commands, common: argparse.ArgumentParser) -> None:
    """`save`, `push-all` and `blobs`."""
    examples = """  stowage save -o images.tar debian:trixie team/app
  stowage save --since images.tar -o more.tar team/app:2     without the layers that images.tar brought"""
    summary = "write images to an archive for docker load, with --since without the layers that its receiver has"
    save = _add(commands, "save", summary, common, examples=examples, run=_in("save", "save"), cut="no archive was written")
    since = "an archive that the receiver has loaded, or a list of its blobs (from stowage blobs, or tar -tf ARCHIVE); may be repeated"
    save.add_argument("--since", metavar="ARCHIVE|LIST", action="append", default=[], type=Path, help=since)
    save.add_argument("-o", "--output", metavar="FILE", type=Path, help="write to this file, which appears when it is whole")
    save.add_argument("--platform", metavar="OS/ARCH", action="append", default=[], help="save only this platform; may be repeated")
    save.add_argument("images", metavar="IMAGE", nargs="+", help="a name, a repository (all its tags) or an ID")

    examples = """  stowage push-all --to localhost:5000
  stowage push-all --to localhost:5000/mirror debian 'team/*'

The registry in an image's name is replaced, its path and tag stay:
  debian:trixie           becomes  REGISTRY/PREFIX/library/debian:trixie
  localhost:5001/team/app becomes  REGISTRY/PREFIX/team/app:latest
No image is tagged. What the registry has is not sent again: repeat the
command after a failure. Credentials are those of docker login."""
    summary = "push every image, or those that match a pattern, to another registry"
    cut = "the same command pushes the rest"
    push_all = _add(commands, "push-all", summary, common, examples=examples, run=_in("push_all", "push_all"), cut=cut)
    push_all.add_argument("--to", metavar="REGISTRY[/PREFIX]", required=True, help="where to, as in localhost:5000/team")
    pattern = "as in docker images: debian, 'team/*', '*/*:trixie'; a * does not match a slash"
    push_all.add_argument("patterns", metavar="PATTERN", nargs="*", help=pattern)

    summary = "list the digests of all blobs, for `stowage save --since` elsewhere"
    _add(commands, "blobs", summary, common, examples="  stowage blobs > blobs.txt", run=_in("save", "list_known"))


def _add_looks(commands: Commands, common: argparse.ArgumentParser) -> None:
    """`tree` and `verify`, which change nothing."""
    examples = """  stowage tree                  every image
  stowage tree 'team/*'         what matches, what that is built on, and what is built on it

It reads the store itself, in the folder of --root or STOWAGE_ROOT, whether or not a service runs there. DOCKER_HOST is not used."""
    tree = _add(
        commands,
        "tree",
        "show which images are built on which, and what each adds",
        common,
        examples=examples,
        run=_in("tree", "show_tree"),
    )
    tree.add_argument("pattern", nargs="?", metavar="PATTERN", help="a name or a pattern, as in `docker images PATTERN`")

    examples = """  stowage verify --root /srv/images             also while a service is running there
  stowage verify --deep || echo damaged         the status is 1 if anything is damaged or cannot be read"""
    summary, cut = "hash every blob again and check that every image is whole", "the rest of the store was not checked"
    verify = _add(commands, "verify", summary, common, examples=examples, run=_in("upkeep", "verify"), cut=cut)
    verify.add_argument("--deep", action="store_true", help="also inflate every layer")


def _add_upkeep(commands: Commands, common: argparse.ArgumentParser) -> None:
    """`gc`, `db upgrade` and `adopt`."""
    examples = """  stowage gc
  stowage gc --root /srv/images                 also while a service is running there"""
    summary = "remove what no image and no running transfer needs"
    _add(commands, "gc", summary, common, examples=examples, run=_in("upkeep", "collect"), cut="the next run removes the rest")

    actions = _add(commands, "db", "manage the database").add_subparsers(required=True, metavar="ACTION", title="actions")
    summary = "migrate the database to this version, as `serve` does at its start"
    _add(actions, "upgrade", summary, common, run=_in("upkeep", "upgrade_database"), cut="the database is as it was before")

    examples = "  stowage adopt                                 after the database was moved to another server, or restored there\n"
    summary = "make the bucket of STOWAGE_CONTENT_URL belong to this database"
    cut = "the bucket belongs to the database that it belonged to before, or to this one"
    _add(commands, "adopt", summary, common, examples=examples, run=_in("upkeep", "adopt"), cut=cut)


def _add_copy(commands: Commands, common: argparse.ArgumentParser) -> None:
    examples = """  stowage copy --to-database postgresql://stowage@db.example.org/stowage
  STOWAGE_DATABASE_URL=postgresql://... stowage copy --to-database sqlite:////srv/images/stowage.db
  stowage copy --to-database postgresql://... --to-content 's3://images/stowage?region=eu-central-1'
  stowage copy --to-database sqlite:////srv/other/stowage.db --to-content /srv/other

Without --to-content the blobs stay where they are. What was copied stays as it is. Set STOWAGE_DATABASE_URL, and with
--to-content STOWAGE_CONTENT_URL, to the copy before the next start. A copy that was cut off is continued by the same command."""
    summary = "copy a store, or only its database, while no service runs, to a place that is empty"
    cut = "the copy is not complete; the same command continues it"
    copy = _add(commands, "copy", summary, common, examples=examples, run=_in("copy", "copy"), cut=cut)
    copy.add_argument("--to-database", metavar="URL", help="where to, as in STOWAGE_DATABASE_URL")
    copy.add_argument("--to-content", metavar="URL", help="copy the blobs too, to a folder or a bucket as in STOWAGE_CONTENT_URL")


def _add_installation(commands: Commands, common: argparse.ArgumentParser) -> None:
    """`settings`, `completion` and `deploy-files`, which need no store."""
    examples = """  stowage settings
  stowage settings | grep -v default$           what was set"""
    summary, run = "print every setting, its value now and where it comes from", _in("settings", "print_settings")
    _add_bind(_add(commands, "settings", summary, common, examples=examples, run=run, reads_settings=False))

    examples = """  bash:  stowage completion bash > ~/.local/share/bash-completion/completions/stowage
  zsh:   stowage completion zsh > ~/.zfunc/_stowage      with ~/.zfunc in fpath before compinit
  fish:  stowage completion fish > ~/.config/fish/completions/stowage.fish"""
    summary = "print a script that completes this command line in a shell"
    completion = _add(commands, "completion", summary, examples=examples, run=_print_completion, reads_settings=False)
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))

    examples = """  cp "$(stowage deploy-files)/nginx.conf" /etc/nginx/sites-available/stowage"""
    summary = "print the folder of the units for systemd, the site for nginx, the alerts and the dashboard"
    _add(commands, "deploy-files", summary, examples=examples, run=_print_deploy_files, reads_settings=False)


def _serve(config: Config, _: argparse.Namespace) -> int:
    gc.disable()  # nearly all that a start creates stays; the server enables it again

    from stowage.app.server.serving import serve

    serve(config)
    return 0


def _print_completion(_: None, options: argparse.Namespace) -> int:
    import shtab

    _complete_files(options.parser, {"DIR": shtab.DIRECTORY, "FILE": shtab.FILE, "ARCHIVE|LIST": shtab.FILE})
    print(shtab.complete(options.parser, shell=options.shell))
    return 0


def _complete_files(parser: argparse.ArgumentParser, completers: Mapping[str, object]) -> None:
    """Have shells complete what has one of these names in the help of this parser, and of those below it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_files(command, completers)
        elif isinstance(action.metavar, str) and action.metavar in completers:
            action.complete = completers[action.metavar]  # type: ignore[attr-defined]


def _print_deploy_files(_: None, __: argparse.Namespace) -> int:
    from importlib.resources import files

    print(files("stowage.deploy"))
    return 0
