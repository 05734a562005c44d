"""Every route of the Engine API that is not about images, with what is true where there are images and nothing else.

A list is empty and a prune removes nothing; whatever is asked for by name is not there, in Docker's words; this is no node of a swarm; what
would make, run or build something is 501. Where a request would upgrade its connection, it stays as it is.

Source: moby daemon/server/router (build, checkpoint, container, grpc, network, plugin, session, swarm, volume) and the words of daemon/.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import NoReturn, cast

from flask import Blueprint, request
from flask.typing import ResponseReturnValue
from werkzeug.routing import Rule

from blueprints.request import load_query
from blueprints.response import dump_raw
from blueprints.schemas.base import QuerySchema
from blueprints.schemas.fields import DockerBool, FiltersField
from services.errors import InvalidParameter, NotFound, Unavailable, Unsupported

blueprint = Blueprint("system_absent", __name__)

_NO_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.'
)


class FiltersQuery(QuerySchema):
    filters = FiltersField()


class ForceQuery(QuerySchema):
    force = DockerBool(load_default=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a route answers: the status that tells its outcome, a function of the name in the path, the parameters that it reads, and the status
    of a second outcome, which has no body. `body` is the JSON of an outcome that has one."""

    status: HTTPStatus
    give: Callable[[str], ResponseReturnValue]
    query: type[QuerySchema] = QuerySchema
    empty: HTTPStatus | None = None
    body: object = None


@dataclass(frozen=True, slots=True)
class Route:
    """A route, its answer, and the API version that brought it."""

    method: str
    path: str
    answer: Answer
    since: str = "1.24"


def _empty(body: object, *filters: str, unreadable: str = "") -> Answer:
    """The report or list of nothing, for a request with no other filters than these; `unreadable` is said before what is wrong with their JSON."""

    def give(_: str) -> ResponseReturnValue:
        try:
            sent = load_query(FiltersQuery)["filters"]
        except InvalidParameter as exc:
            raise InvalidParameter(f"{unreadable}{exc}") from exc
        sent.validate(filters)
        return dump_raw(body)

    return Answer(HTTPStatus.OK, give, FiltersQuery, body=body)


def _unable(deed: str) -> Answer:
    """What only an engine with a container runtime can do."""

    def give(_: str) -> NoReturn:
        raise Unsupported(f"Stowage is an image-only engine: it pulls, stores and pushes images, and cannot {deed}")

    return Answer(HTTPStatus.NOT_IMPLEMENTED, give)


def _unavailable(words: str) -> Answer:
    def give(_: str) -> NoReturn:
        raise Unavailable(words)

    return Answer(HTTPStatus.SERVICE_UNAVAILABLE, give)


def _refuse_container(name: str) -> NoReturn:
    if not name:
        raise InvalidParameter('invalid name or ID supplied: ""')
    raise NotFound(f"No such container: {name}")


def _refuse_kill(name: str) -> NoReturn:
    raise NotFound(f"cannot kill container: {name}: No such container: {name}")


def _refuse_exec(name: str) -> NoReturn:
    raise NotFound(f"No such exec instance: {name}")


def _refuse_network(name: str) -> NoReturn:
    raise NotFound(f"network {name} not found")


def _refuse_plugin(name: str) -> NoReturn:
    raise NotFound(f'plugin "{name}" not found')


def _refuse_volume(name: str) -> NoReturn:
    raise NotFound(f"get {name}: no such volume" if name else "get: no such volume")


def _remove_volume(name: str) -> ResponseReturnValue:
    """With `force` a volume that is not there counts as removed."""
    if load_query(ForceQuery)["force"]:
        return "", HTTPStatus.NO_CONTENT
    _refuse_volume(name)


_NO_CONTAINER = Answer(HTTPStatus.NOT_FOUND, _refuse_container)
_NO_EXEC = Answer(HTTPStatus.NOT_FOUND, _refuse_exec)
_NO_NETWORK = Answer(HTTPStatus.NOT_FOUND, _refuse_network)
_NO_PLUGIN = Answer(HTTPStatus.NOT_FOUND, _refuse_plugin)
_NO_VOLUME = Answer(HTTPStatus.NOT_FOUND, _refuse_volume)
_NO_SWARM = _unavailable(_NO_MANAGER)
_NO_MEMBER = _unavailable("This node is not part of a swarm")
_NO_CLUSTER_VOLUME = _unavailable("volume update only valid for cluster volumes, but swarm is unavailable")

_NO_BUILD = _unable("build images")
_NO_RUN = _unable("run containers")

_PS_FILTERS = (
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network", "publish", "since", "status",
    "volume",
)  # fmt: skip
_CACHE_FILTERS = ("description", "id", "inuse", "label", "label!", "parent", "private", "shared", "type", "until", "unused-for")
_NETWORK_FILTERS = ("dangling", "driver", "id", "label", "name", "scope", "type")
_VOLUME_FILTERS = ("dangling", "driver", "label", "name")
_OLD_FILTERS = ("label", "label!", "until")

ROUTES: tuple[Route, ...] = (
    Route("GET", "/containers/json", _empty([], *_PS_FILTERS)),
    Route("POST", "/containers/create", _NO_RUN),
    Route("POST", "/containers/prune", _empty({"ContainersDeleted": None, "SpaceReclaimed": 0}, *_OLD_FILTERS), "1.25"),
    Route("DELETE", "/containers/<path:name>", _NO_CONTAINER),
    *(
        Route("GET", f"/containers/<path:name>/{what}", _NO_CONTAINER)
        for what in ("archive", "attach/ws", "changes", "export", "json", "logs", "stats", "top")
    ),
    *(
        Route("POST", f"/containers/<path:name>/{deed}", _NO_CONTAINER)
        for deed in ("attach", "exec", "pause", "rename", "resize", "restart", "start", "stop", "unpause", "update", "wait")
    ),
    Route("POST", "/containers/<path:name>/kill", Answer(HTTPStatus.NOT_FOUND, _refuse_kill)),
    Route("HEAD", "/containers/<path:name>/archive", _NO_CONTAINER),
    Route("PUT", "/containers/<path:name>/archive", _NO_CONTAINER),
    Route("GET", "/containers/<path:name>/checkpoints", _NO_RUN),
    Route("POST", "/containers/<path:name>/checkpoints", _NO_RUN),
    Route("DELETE", "/containers/<name>/checkpoints/<checkpoint>", _NO_RUN),
    Route("POST", "/commit", _NO_RUN),
    Route("GET", "/exec/<path:id>/json", _NO_EXEC),
    Route("POST", "/exec/<path:name>/start", _NO_EXEC),
    Route("POST", "/exec/<path:name>/resize", _NO_EXEC),
    Route("POST", "/build", _NO_BUILD),
    Route("POST", "/build/cancel", _NO_BUILD),
    Route("POST", "/build/prune", _empty({"CachesDeleted": None, "SpaceReclaimed": 0}, *_CACHE_FILTERS), "1.31"),
    Route("POST", "/session", _NO_BUILD),
    Route("POST", "/grpc", _NO_BUILD),
    Route("GET", "/volumes", _empty({"Volumes": [], "Warnings": None}, *_VOLUME_FILTERS, unreadable="error reading volume filters: ")),
    Route("GET", "/volumes/<path:name>", _NO_VOLUME),
    Route("PUT", "/volumes/<path:name>", _NO_CLUSTER_VOLUME, "1.42"),
    Route("DELETE", "/volumes/<path:name>", Answer(HTTPStatus.NOT_FOUND, _remove_volume, ForceQuery, empty=HTTPStatus.NO_CONTENT)),
    Route("POST", "/volumes/create", _unable("make volumes")),
    Route("POST", "/volumes/prune", _empty({"VolumesDeleted": [], "SpaceReclaimed": 0}, "all", "label", "label!"), "1.25"),
    Route("GET", "/networks", _empty([], *_NETWORK_FILTERS)),
    Route("GET", "/networks/", _empty([], *_NETWORK_FILTERS)),
    Route("GET", "/networks/<path:id>", _NO_NETWORK),
    Route("DELETE", "/networks/<path:id>", _NO_NETWORK),
    Route("POST", "/networks/<path:id>/connect", _NO_NETWORK),
    Route("POST", "/networks/<path:id>/disconnect", _NO_NETWORK),
    Route("POST", "/networks/create", _unable("make networks")),
    Route("POST", "/networks/prune", _empty({"NetworksDeleted": None}, *_OLD_FILTERS), "1.25"),
    Route("GET", "/plugins", _empty([], "capability", "enabled")),
    Route("GET", "/plugins/<path:name>/json", _NO_PLUGIN),
    Route("DELETE", "/plugins/<path:name>", _NO_PLUGIN),
    *(Route("POST", f"/plugins/<path:name>/{deed}", _NO_PLUGIN) for deed in ("disable", "enable", "push", "set")),
    Route("POST", "/plugins/<path:name>/upgrade", _NO_PLUGIN, "1.26"),
    Route("GET", "/plugins/privileges", _unable("run plugins")),
    Route("POST", "/plugins/create", _unable("run plugins")),
    Route("POST", "/plugins/pull", _unable("run plugins")),
    Route("GET", "/swarm", _NO_SWARM),
    Route("GET", "/swarm/unlockkey", _NO_SWARM),
    Route("POST", "/swarm/init", _unable("be a node of a swarm")),
    Route("POST", "/swarm/join", _unable("be a node of a swarm")),
    Route("POST", "/swarm/leave", _NO_MEMBER),
    Route("POST", "/swarm/unlock", _NO_SWARM),
    Route("POST", "/swarm/update", _NO_SWARM),
    *(
        Route(method, f"/{kind}{rest}", _NO_SWARM, since)
        for kind, since in (("services", "1.24"), ("secrets", "1.25"), ("configs", "1.30"))
        for method, rest in (("GET", ""), ("POST", "/create"), ("GET", "/<id>"), ("DELETE", "/<id>"), ("POST", "/<id>/update"))
    ),
    Route("GET", "/services/<id>/logs", _NO_SWARM),
    Route("GET", "/nodes", _NO_SWARM),
    Route("GET", "/nodes/<id>", _NO_SWARM),
    Route("DELETE", "/nodes/<id>", _NO_SWARM),
    Route("POST", "/nodes/<id>/update", _NO_SWARM),
    Route("GET", "/tasks", _NO_SWARM),
    Route("GET", "/tasks/<id>", _NO_SWARM),
    Route("GET", "/tasks/<id>/logs", _NO_SWARM),
)

ANSWERS = {(route.method, route.path): route.answer for route in ROUTES}


def system_absent(name: str = "", id: str = "", checkpoint: str = "") -> ResponseReturnValue:  # noqa: A002 - the words of moby's paths
    """Any of ROUTES."""
    rule = cast(Rule, request.url_rule)
    return ANSWERS[request.method, rule.rule].give(name or id or checkpoint)


for _route in ROUTES:
    blueprint.add_url_rule(_route.path, view_func=system_absent, methods=[_route.method], since=_route.since)
