"""The `platform` parameters of save and load: none, one, or, since API 1.52, several."""

from __future__ import annotations

from typing import Any

from marshmallow import pre_load

from stowage.blueprints.schemas.base import QuerySchema, since
from stowage.blueprints.schemas.fields import PlatformList
from stowage.blueprints.versioning import ApiVersion
from stowage.services.errors import InvalidParameter

_SEVERAL_SINCE = ApiVersion.parse("1.52")


class PlatformsQuery(QuerySchema):
    platforms = PlatformList(data_key="platform", metadata=since("1.48"))

    @pre_load
    def _refuse_several(self, given: dict[str, Any], **_: Any) -> dict[str, Any]:
        if self.client_version < _SEVERAL_SINCE and len(given.get("platform", ())) > 1:
            raise InvalidParameter("multiple platform parameters are not supported in this API version; use API version 1.52 or later")
        return given
