"""The command line `stowage`.

Exit status 0 for success and for a service that was asked to stop, 1 for damage or failure, 2 for wrong usage or settings, and 130, 143 or
129 for another command that Ctrl-C, SIGTERM or SIGHUP has ended.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from stowage import __version__
from stowage.app import stopping
from stowage.app.commands import adopt, blobs, completion, copy, db, deploy_files, gc, push_all, run, save, serve, settings, tree, verify

_EXAMPLES = """examples:
  stowage serve                                 serve the store in ./var on ./var/stowage.sock
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


def _parser() -> argparse.ArgumentParser:
    """The parser of every command. A command is run by `run`; what it says after a signal is in `cut`."""
    top = argparse.ArgumentParser(
        "stowage", description="An image-only Docker Engine.", epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=f"stowage {__version__}")
    top.set_defaults(parser=top, cut="", unwinds=True, reads_settings=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--root", metavar="DIR", help="folder of the store, instead of STOWAGE_ROOT (default: ./var)")
    commands = top.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for command in (serve, run, save, push_all, blobs, tree, verify, gc, db, adopt, copy, settings, completion, deploy_files):
        command.add(commands, common)
    return top


def _run(options: argparse.Namespace) -> int:
    # Imported here: `--help` needs none of it.
    from stowage.app.logs import make_records_safe
    from stowage.app.settings import Config, ConfigError, given_options
    from stowage.app.terminal import complain
    from stowage.services.errors import EngineError

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
        return 1
    return status
