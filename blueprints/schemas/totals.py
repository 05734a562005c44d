"""The parameter of our own that adds a line about the whole operation to the progress of a pull or push.

A docker CLI cannot send a parameter, but sends the headers that its configuration has under `HttpHeaders`. So a header says the same.
"""

from __future__ import annotations

from typing import Any

from flask import request

from stowage.blueprints.schemas.base import QuerySchema
from stowage.blueprints.schemas.fields import DockerBool

HEADER = "X-Stowage-Totals"


class TotalsQuery(QuerySchema):
    """Parameters with one that Docker does not have, under a name that it will not take."""

    totals = DockerBool(data_key="stowage.totals", load_default=False)


def wants_totals(query: dict[str, Any]) -> bool:
    """Whether the parameter or the header requests the line."""
    return bool(query["totals"] or DockerBool().deserialize(request.headers.get(HEADER, "")))
