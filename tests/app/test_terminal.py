"""What commands print, on a real terminal and elsewhere."""

from __future__ import annotations

import os
import pty
import sys
from contextlib import suppress

import pytest

from stowage.app.terminal import ProgressLine, complain, shown_share, shown_size


class Terminal:
    """A terminal of twenty columns that standard error is connected to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._other, own = pty.openpty()
        self._own = os.fdopen(own, "w")
        monkeypatch.setenv("COLUMNS", "20")
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(sys, "stderr", self._own)

    def shown(self) -> str:
        """All that was shown; a prompt marks the end."""
        self._own.write("$ ")
        self._own.close()
        text = ""
        while not text.endswith("$ "):
            text += os.read(self._other, 4096).decode()
        os.close(self._other)
        return text


def test_a_line_is_redrawn_cut_and_removed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with monkeypatch.context() as patch:
        terminal = Terminal(patch)
        with ProgressLine() as line:
            line.show("one of three images is pushed")
            line.show("too soon")
            line.print("pushed one")
            line.show("two")
            line.complain("three failed")
            line.show("last")
    clear = "\r\x1b[K"
    assert terminal.shown() == f"{clear}one of three images{clear}{clear}two{clear}stowage: three failed\r\n{clear}last{clear}$ "
    assert capsys.readouterr().out == "pushed one\n"


def test_a_dumb_terminal_gets_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        terminal = Terminal(patch)
        patch.setenv("TERM", "dumb")
        with ProgressLine() as line:
            line.show("one")
    assert terminal.shown() == "$ "


def test_a_log_gets_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine() as line:
        line.show("one")
        line.complain("two")
    assert capsys.readouterr() == ("", "stowage: two\n")


def test_an_error_removes_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        terminal = Terminal(patch)
        with suppress(KeyboardInterrupt), ProgressLine() as line:
            line.show("one")
            raise KeyboardInterrupt
    assert terminal.shown() == "\r\x1b[Kone\r\x1b[K$ "


def test_nothing_that_is_printed_controls_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    evil, printed = "\x1b]0;a\x07\n\u202eb", r"\x1b]0;a\x07\n\u202eb"
    with monkeypatch.context() as patch:
        terminal = Terminal(patch)
        with ProgressLine() as line:
            line.show("\x1b[2J\nb")
            line.complain(evil)
            line.print(evil)
        complain(ValueError(evil))
    assert terminal.shown() == "\r\x1b[K" + r"\x1b[2J\nb" + f"\r\x1b[Kstowage: {printed}\r\nstowage: {printed}\r\n$ "
    assert capsys.readouterr().out == f"{printed}\n"


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0B"), (999, "999B"), (1000, "1kB"), (12_345_678, "12.35MB"), (2 * 10**9, "2GB"), (3 * 10**15, "3PB")]
)
def test_sizes_are_shown_as_docker_shows_them(size: int, text: str) -> None:
    assert shown_size(size) == text
    assert shown_share(0, size) == f"0B of {text}"
