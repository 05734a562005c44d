"""What a registry answers with."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Document:
    media_type: str
    content: bytes

    def padded(self, size: int) -> Document:
        """The same with this many spaces behind it."""
        return Document(self.media_type, self.content + b" " * size)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said in place of anything else, with these headers."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
