"""The Dockerfile instructions that `changes` of an import may hold: text in, container configuration out.

`parser` splits lines, flags and here-documents; `words` expands `$NAME`; `instructions` checks and applies each one.
"""

from stowage.services.dockerfile.instructions import apply_changes

__all__ = ["apply_changes"]
