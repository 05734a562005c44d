"""GET /images/{name}/json: everything about one image."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import Blueprint
from flask.typing import ResponseReturnValue
from marshmallow import fields, post_load

from stowage.blueprints.request import engine, load_query
from stowage.blueprints.response import dump_kept
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import (
    OMIT_EMPTY,
    OMIT_NULL,
    QuerySchema,
    ResponseSchema,
    between,
    omit_empty,
    since,
    until,
    version_rule,
)
from stowage.blueprints.schemas.fields import DescriptorField, DockerBool, PlatformJson
from stowage.blueprints.schemas.images import IDENTITY, ManifestItem, shape_identity
from stowage.blueprints.schemas.json_schema import BOOLEAN, INTEGER, TEXT, array, mapping, nullable, record, written_as
from stowage.services.errors import InvalidParameter
from stowage.services.images.inspect import InspectedImage, inspect_image
from stowage.services.timestamps import ZERO

blueprint = Blueprint("image_inspect", __name__)

_CONFIG_BEFORE_1_52: dict[str, object] = {
    "Cmd": None,
    "Entrypoint": None,
    "Env": None,
    "Labels": None,
    "OnBuild": None,
    "User": "",
    "Volumes": None,
    "WorkingDir": "",
}
_CONFIG_BEFORE_1_50: dict[str, object] = _CONFIG_BEFORE_1_52 | {
    "AttachStderr": False,
    "AttachStdin": False,
    "AttachStdout": False,
    "Domainname": "",
    "Hostname": "",
    "Image": "",
    "OpenStdin": False,
    "StdinOnce": False,
    "Tty": False,
}

_SET, _TEXTS = mapping({"type": "object"}), nullable(array(TEXT))
_HEALTHCHECK_TIMES = dict.fromkeys(("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"), INTEGER)
_CONFIG = record(
    {},
    dict.fromkeys(("User", "WorkingDir", "StopSignal", "Domainname", "Hostname", "Image"), TEXT)
    | dict.fromkeys(("Env", "Entrypoint", "Cmd", "OnBuild", "Shell"), _TEXTS)
    | dict.fromkeys(("ArgsEscaped", "AttachStderr", "AttachStdin", "AttachStdout", "OpenStdin", "StdinOnce", "Tty"), BOOLEAN)
    | {"ExposedPorts": _SET, "Volumes": nullable(_SET), "Labels": nullable(mapping(TEXT))}
    | {"Healthcheck": record({}, {"Test": array(TEXT)} | _HEALTHCHECK_TIMES)},
)


class InspectQuery(QuerySchema):
    manifests = DockerBool(load_default=False, metadata=since("1.48"))
    platform = PlatformJson(load_default=None, metadata=since("1.49"))

    @post_load
    def _refuse_both(self, query: dict[str, Any], **_: object) -> dict[str, Any]:
        if query.get("manifests") and query.get("platform"):
            raise InvalidParameter("conflicting options: manifests and platform options cannot both be set")
        return query


def _root_fs(image: InspectedImage) -> dict[str, object]:
    root_fs = {"Type": image.config.rootfs_type, "Layers": [str(diff_id) for diff_id in image.config.diff_ids or ()]}
    return {name: value for name, value in root_fs.items() if value}


class ImageDetails(ResponseSchema):
    """An image with its config (moby api/types/image/image_inspect.go, daemon/server/router/image/inspect_response.go)."""

    id = fields.String(data_key="Id", attribute="descriptor.digest")
    repo_tags = fields.List(fields.String(), data_key="RepoTags")
    repo_digests = fields.List(fields.String(), data_key="RepoDigests")
    parent = fields.Constant("", data_key="Parent", metadata=until("1.52"))
    comment = fields.String(data_key="Comment", metadata=omit_empty(since("1.52")))
    created = fields.String(data_key="Created", attribute="config.created", metadata=OMIT_EMPTY)
    container = fields.Constant("", data_key="Container", metadata=until("1.45"))
    container_config = fields.Constant(None, data_key="ContainerConfig", metadata=until("1.45"))
    docker_version = fields.Constant("", data_key="DockerVersion", metadata=until("1.52"))
    author = fields.String(data_key="Author", attribute="config.author", metadata=omit_empty(since("1.52")))
    config = fields.Function(lambda image: image.config.container.to_json(), data_key="Config", metadata=written_as(_CONFIG))
    architecture = fields.String(data_key="Architecture", attribute="config.platform.architecture")
    variant = fields.String(data_key="Variant", attribute="config.platform.variant", metadata=OMIT_EMPTY)
    os = fields.String(data_key="Os", attribute="config.platform.os")
    os_version = fields.String(data_key="OsVersion", attribute="config.platform.os_version", metadata=OMIT_EMPTY)
    size = fields.Integer(data_key="Size")
    virtual_size = fields.Integer(attribute="size", data_key="VirtualSize", dump_only=True, metadata=until("1.44"))
    graph_driver = fields.Constant({"Data": None, "Name": "stowage"}, data_key="GraphDriver", metadata=until("1.52"))
    root_fs = fields.Function(_root_fs, data_key="RootFS", metadata=written_as(record({}, {"Type": TEXT, "Layers": array(TEXT)})))
    metadata = fields.Function(
        lambda image: {"LastTagTime": str(image.last_tagged)}, data_key="Metadata", metadata=written_as(record({"LastTagTime": TEXT}))
    )
    descriptor = DescriptorField(data_key="Descriptor", metadata=since("1.48"))
    manifests = fields.List(fields.Nested(ManifestItem), data_key="Manifests", metadata=since("1.48") | OMIT_EMPTY)
    identity = fields.Function(
        lambda image: shape_identity(image.repositories),
        data_key="Identity",
        metadata=written_as(IDENTITY) | since("1.53") | OMIT_NULL,
    )

    @version_rule(until("1.44"))
    def _date_the_dateless(self, shaped: dict[str, Any], _: InspectedImage) -> None:
        """`Created` is 0001-01-01T00:00:00Z if the image has no date."""
        shaped["Created"] = shaped["Created"] or str(ZERO)

    @version_rule(until("1.50"))
    def _fill_container_fields(self, shaped: dict[str, Any], _: InspectedImage) -> None:
        """`Config` also has its main fields when they are empty, and those that only a container has, such as `Hostname` and `Tty`."""
        shaped["Config"] = _CONFIG_BEFORE_1_50 | shaped["Config"]

    @version_rule(between("1.50", "1.52"))
    def _fill_empty_fields(self, shaped: dict[str, Any], _: InspectedImage) -> None:
        """`Config` also has its main fields when they are empty, such as `Cmd` and `Labels` as null."""
        shaped["Config"] = _CONFIG_BEFORE_1_52 | shaped["Config"]


@blueprint.get("/images/<path:name>/json", query=InspectQuery, answer=Answer(ImageDetails), pace="quick")
def image_inspect(name: str) -> ResponseReturnValue:
    """GET /images/{name}/json."""
    query = load_query()
    return dump_kept(partial(inspect_image, engine(), name, **query), name, frozenset(query.items()))
