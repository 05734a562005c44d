"""The end of the program after Ctrl-C, SIGTERM, or SIGHUP when its terminal is closed.

While nothing needs to be undone, as during imports, the process says so and ends at once: a store may be left at any instant. A running
command is ended by an exception, so that it can remove what it has not finished. After a second signal, or if that takes long because the
database is in the middle of a large statement, the process ends at once too.
A signal that is ignored from the start stays ignored, as under nohup.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType

SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}
"""The signals that ask the program to end, by the names that users know."""

_PR_SET_PDEATHSIG = 1
_STDERR = 2
_UNWIND_SECONDS = 2.0


class Stopped(KeyboardInterrupt):
    """The running command is to end; `number` is that of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def status(self) -> int:
        """The exit status of a command that this signal has ended, as a shell reports it."""
        return 128 + self.number


def end_at_once(*, service: bool = False) -> None:
    """From now on a signal ends the process at once, with status 0 for a service."""
    _handle(partial(_end, service))


def raise_stopped(cut: str) -> None:
    """From now on the first signal raises Stopped in the main thread; `cut` is what to say if that thread cannot notice it."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writer)
    threading.Thread(target=_watch, args=(reader, cut), daemon=True).start()
    sys.unraisablehook = partial(_end_if_ignored, cut, sys.unraisablehook)
    _handle(_raise)


def die_silently() -> None:
    """From now on a signal ends this child process without a word; its parent gets the same signal, or sent it."""
    _handle(signal.SIG_DFL)


def end_with_parent(parent: int, number: signal.Signals) -> None:
    """Have the system send this process a signal when its parent ends. If that has happened already, send it now.

    Source: prctl(2), PR_SET_PDEATHSIG. Only Linux has it.
    """
    import ctypes  # takes longer than all else here

    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def say(number: int, cut: str = "") -> None:
    """Say on standard error which signal has ended the program, and what was cut."""
    # The terminal shows ^C where the cursor was, perhaps after a line of progress.
    lead = "\n" if number == signal.SIGINT and os.isatty(_STDERR) else ""
    reason = f"{lead}stowage: stopped by {SIGNALS[signal.Signals(number)]}"
    with contextlib.suppress(OSError):  # the terminal may be gone
        os.write(_STDERR, f"{reason}; {cut}\n".encode() if cut else f"{reason}\n".encode())


def _handle(handler: signal._HANDLER) -> None:
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _end(service: bool, number: int, _: FrameType | None) -> None:
    say(number)
    os._exit(0 if service else 128 + number)


def _raise(number: int, _: FrameType | None) -> None:
    _handle(_leave_to_watcher)
    raise Stopped(number)


def _end_if_ignored(cut: str, otherwise: Callable[[sys.UnraisableHookArgs], object], ignored: sys.UnraisableHookArgs) -> None:
    """End the process at once if the exception was raised where Python ignores exceptions, as in a destructor."""
    if isinstance(ignored.exc_value, Stopped):
        say(ignored.exc_value.number, cut)
        os._exit(ignored.exc_value.status)
    otherwise(ignored)


def _leave_to_watcher(number: int, _: FrameType | None) -> None:
    """Do nothing: the watcher gets the signal too."""


def _watch(reader: int, cut: str) -> None:
    """Await the first signal; after another one, or a little time, end the process if it still runs."""
    number = _next_signal(reader, None)
    _next_signal(reader, _UNWIND_SECONDS)
    say(number, cut)
    os._exit(128 + number)


def _next_signal(reader: int, seconds: float | None) -> int:
    """The number of the next signal, or 0 if there is none in this time."""
    select.select([reader], [], [], seconds)
    with contextlib.suppress(BlockingIOError):
        return os.read(reader, 1)[0]
    return 0
