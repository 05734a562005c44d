"""Signal names that STOPSIGNAL takes. Source: moby/sys signal (signal.go, signal_linux.go)."""

from __future__ import annotations

import re

from stowage.services.errors import InvalidParameter

_NAMES = frozenset(
    [
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL", "PROF", "PWR",
        "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU",
        "XFSZ", "RTMIN", *(f"RTMIN+{number}" for number in range(1, 16)),
        "RTMAX", *(f"RTMAX-{number}" for number in range(1, 15)),
    ]
)  # fmt: skip
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")


def check_signal(signal: str) -> None:
    """Accept a number other than zero, or a name in any case with or without SIG; raises InvalidParameter."""
    is_number = _NUMBER.fullmatch(signal) and int(signal) != 0
    if not is_number and signal.upper().removeprefix("SIG") not in _NAMES:
        raise InvalidParameter(f"invalid signal: {signal}")
