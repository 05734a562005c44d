"""GET /version: versions of the service and of its API."""

from flask import Blueprint, Response
from marshmallow import fields

from stowage.blueprints.request import engine
from stowage.blueprints.response import dump
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import ResponseSchema
from stowage.blueprints.versioning import MAX_API_VERSION, minimum_api_version
from stowage.services.system.version import read_version

blueprint = Blueprint("system_version", __name__)


class ComponentResponse(ResponseSchema):
    name = fields.String(data_key="Name")
    version = fields.String(data_key="Version")
    details = fields.Dict(values=fields.String(), data_key="Details")


class VersionResponse(ResponseSchema):
    """Clients expect the keys of a Go program; they are empty for one in Python."""

    platform = fields.Dict(values=fields.String(), data_key="Platform")
    version = fields.String(data_key="Version")
    api_version = fields.String(data_key="ApiVersion")
    min_api_version = fields.String(data_key="MinAPIVersion")
    git_commit = fields.Constant("", data_key="GitCommit")
    go_version = fields.Constant("", data_key="GoVersion")
    os = fields.String(data_key="Os")
    architecture = fields.String(data_key="Arch")
    components = fields.List(fields.Nested(ComponentResponse), data_key="Components")
    kernel = fields.String(data_key="KernelVersion")


@blueprint.get("/version", answer=Answer(VersionResponse), pace="probe")
def system_version() -> Response:
    """GET /version."""
    version = read_version(engine(), api_version=str(MAX_API_VERSION), min_api_version=str(minimum_api_version()))
    return dump(version)
