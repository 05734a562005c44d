"""Points in time as Go's JSON writes them: RFC 3339 with up to nine digits of a second and an offset.

Integer nanoseconds, since Python's datetime stops at microseconds. Years 0000 to 9999, as in Go.
Source: RFC 3339; Go's time.RFC3339Nano (trailing zeros dropped, `Z` for a zero offset).
"""

from __future__ import annotations

from dataclasses import dataclass

from stowage.services.errors import InvalidContent, InvalidParameter
from stowage.services.gotime import format_time, parse_time


@dataclass(frozen=True, slots=True)
class Timestamp:
    """`nanoseconds` since 1970-01-01T00:00:00Z (negative before), seen at `offset` minutes east of UTC."""

    nanoseconds: int
    offset: int = 0

    @classmethod
    def parse(cls, text: str) -> Timestamp:
        """Read RFC 3339; raises InvalidContent as Go's json.Unmarshal of a time.Time would refuse."""
        try:
            nanoseconds, offset = parse_time(text)
        except InvalidParameter as exc:
            raise InvalidContent(str(exc)) from exc
        return cls(nanoseconds, offset // 60)

    @property
    def unix(self) -> int:
        """Whole seconds, rounded down, as Go's Time.Unix."""
        return self.nanoseconds // 1_000_000_000

    def __str__(self) -> str:
        return format_time(self.nanoseconds, self.offset * 60)


ZERO = Timestamp(-62135596800 * 1_000_000_000)
"""Go's zero time, 0001-01-01T00:00:00Z."""
