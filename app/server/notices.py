"""What the service says about itself: that it is ready and how to use it, and that it stops.

On a terminal these are a few lines for its user. Anywhere else they are records of the log.
"""

from __future__ import annotations

import contextlib
import logging
import shlex
import sys
from collections.abc import Iterable

from gunicorn.sock import BaseSocket

from stowage.services.system.version import VERSION
from stowage.setting_parsers import Bind
from stowage.settings import Config

_log = logging.getLogger("stowage")
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def notify(sentence: str) -> None:
    """Say a sentence without its capital and full stop."""
    if sys.stderr.isatty():
        _show(f"stowage: {sentence}")
    else:
        _log.info("%s", sentence)


def end_line() -> None:
    """Begin a new line after the ^C that a terminal shows."""
    if sys.stderr.isatty():
        _show("")


def notify_ready(config: Config, listeners: Iterable[BaseSocket], images: int | None) -> None:
    """Say what is served, where and how to use it. `images` is None if they cannot be counted."""
    bound = [_bound(bind, listener) for bind, listener in zip((*config.bind, *config.health_bind), listeners, strict=False)]
    binds, health = bound[: len(config.bind)], bound[len(config.bind) :]
    holds = "" if images is None else f" ({images} {'image' if images == 1 else 'images'})"
    use = docker_environment(binds, tls=config.tls)
    if not sys.stderr.isatty():
        probes = f"; health on {', '.join(map(str, health))}" if health else ""
        _log.info("Stowage %s is ready on %s%s; folder %s%s; %s", VERSION, ", ".join(map(str, binds)), probes, config.root, holds, use)
        return
    address = "\n            ".join(map(str, binds))
    probes = f"Health    {', '.join(map(str, health))}\n  " if health else ""
    lines = f"""Stowage {VERSION} is ready.
  Address   {address}
  {probes}Folder    {config.root}{holds}
  To use it, run this in another terminal:
            {use}
  Ctrl-C stops it."""
    _show(lines)


def docker_environment(binds: list[Bind], *, tls: bool) -> str:
    """The shell command that leads the docker CLI to one of these addresses, a unix socket if there is one."""
    best = next((bind for bind in binds if bind.path is not None), binds[0])
    if best.path is not None:
        return f"export DOCKER_HOST={shlex.quote(f'unix://{best.path}')}"
    reached = Bind(host=_ANY.get(best.host, best.host), port=best.port)
    return f"export DOCKER_HOST=tcp://{shlex.quote(str(reached))}" + (" DOCKER_TLS_VERIFY=1" if tls else "")


def _show(text: str) -> None:
    """Print to the terminal, which may just have been closed."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _bound(bind: Bind, listener: BaseSocket) -> Bind:
    """The address with the port that the system has chosen for port 0."""
    return bind if bind.port or bind.path else Bind(host=bind.host, port=listener.getsockname()[1])
