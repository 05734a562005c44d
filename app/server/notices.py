"""Notices that the service is ready, with its addresses, and that it stops.

On a terminal these are a few lines for its user. Anywhere else they are records of the log.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import sys
from collections.abc import Iterable

from gunicorn.sock import BaseSocket

from stowage.app.setting_fields import Bind
from stowage.app.settings import Config
from stowage.blueprints.routing import PAGE_PREFIX
from stowage.services.system.version import VERSION

_log = logging.getLogger("stowage")
_FOR_BROWSERS = Bind(host="127.0.0.1", port=2375)
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
    kind, place = ("bucket", config.bucket.place) if config.bucket else ("folder", config.root)
    use = docker_environment(binds, tls=config.tls)
    if not sys.stderr.isatty():
        probes = f"; health on {', '.join(map(str, health))}" if health else ""
        page = f"; page {_page_url(tcp, tls=config.tls)}" if config.page != "off" and (tcp := _tcp_of(binds)) else ""
        _log.info("Stowage %s is ready on %s%s; %s %s%s; %s%s", VERSION, ", ".join(map(str, binds)), probes, kind, place, holds, use, page)
        return
    address = "\n            ".join(map(str, binds))
    probes = f"Health    {', '.join(map(str, health))}\n  " if health else ""
    browser = f"In a browser: {_way_to_page(binds, tls=config.tls)}\n  " if config.page != "off" else ""
    lines = f"""Stowage {VERSION} is ready.
  Address   {address}
  {probes}{kind.capitalize()}    {place}{holds}
  To use it, run this in another terminal:
            {use}
  {browser}Ctrl-C stops it."""
    _show(lines)


def docker_environment(binds: list[Bind], *, tls: bool) -> str:
    """The shell command that leads the docker CLI to one of these addresses, a unix socket if there is one."""
    best = next((bind for bind in binds if bind.path is not None), binds[0])
    if best.path is not None:
        return f"export DOCKER_HOST={shlex.quote(f'unix://{best.path}')}"
    return f"export DOCKER_HOST=tcp://{shlex.quote(str(_reached(best)))}" + (" DOCKER_TLS_VERIFY=1" if tls else "")


def _reached(bind: Bind) -> Bind:
    """An address at which this machine reaches it."""
    return Bind(host=_ANY.get(bind.host, bind.host), port=bind.port)


def _way_to_page(binds: list[Bind], *, tls: bool) -> str:
    """The address of the page, or else how to start the service so that there is one: browsers do not open unix sockets."""
    tcp = _tcp_of(binds)
    if tcp is None:
        return f"stop it, run this, and open {_page_url(_FOR_BROWSERS, tls=tls)}\n            {_command_with(binds)}"
    return _page_url(tcp, tls=tls)


def _tcp_of(binds: list[Bind]) -> Bind | None:
    return next((bind for bind in binds if bind.path is None), None)


def _page_url(bind: Bind, *, tls: bool) -> str:
    return f"{'https' if tls else 'http'}://{_reached(bind)}{PAGE_PREFIX}"


def _command_with(binds: list[Bind]) -> str:
    """The command that started the service, with an address for browsers besides those that it has."""
    arguments = sys.orig_argv
    if arguments[1:2] == sys.argv[:1] and "/" in sys.argv[0] and os.access(sys.argv[0], os.X_OK):
        arguments = arguments[1:]  # a script that names its interpreter
    has_option = any(argument.startswith("--b") for argument in arguments)
    added = [_FOR_BROWSERS] if has_option else [*binds, _FOR_BROWSERS]
    return shlex.join([*arguments, *(word for bind in added for word in ("--bind", str(bind)))])


def _show(text: str) -> None:
    """Print to the terminal, which may just have been closed."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _bound(bind: Bind, listener: BaseSocket) -> Bind:
    """The address with the port that the system has chosen for port 0."""
    return bind if bind.port or bind.path else Bind(host=bind.host, port=listener.getsockname()[1])
