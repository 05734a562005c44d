"""Routes of the Engine API for containers, volumes, networks, plugins and swarms, which this engine does not have.

Lists are empty and prunes remove nothing. A named object is not found, in Docker's words. Swarm routes answer that this is no node of a
swarm. Requests to create, run or build something are answered with 501, and requests to upgrade the connection without an upgrade.

Source: moby daemon/server/router (build, checkpoint, container, grpc, network, plugin, session, swarm, volume) and the words of daemon/.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import NoReturn

from flask import Blueprint
from flask.typing import ResponseReturnValue

from stowage.blueprints.request import load_query
from stowage.blueprints.response import dump_raw
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import QuerySchema
from stowage.blueprints.schemas.fields import DockerBool, FiltersField
from stowage.blueprints.schemas.json_schema import constant
from stowage.services.errors import InvalidParameter, NotFound, Unavailable, Unsupported

blueprint = Blueprint("system_absent", __name__)

_NO_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.'
)


class FiltersQuery(QuerySchema):
    filters = FiltersField()


class ForceQuery(QuerySchema):
    force = DockerBool(load_default=False)


Give = Callable[[str], ResponseReturnValue]
"""Answers for the name in the path, which may be empty."""


@dataclass(frozen=True, slots=True)
class Reply:
    """How a route answers, the description of the answer, and the parameters that it reads."""

    give: Give
    answer: Answer
    query: type[QuerySchema] = QuerySchema


@dataclass(frozen=True, slots=True)
class AbsentRoute:
    """A route, how it answers, and the API version that introduced it."""

    method: str
    path: str
    reply: Reply
    since: str = "1.24"


def _empty(body: object, *filters: str, unreadable: str = "") -> Reply:
    """An empty report or list, for a request with no other filters than these. `unreadable` precedes the error about their JSON."""

    def give(_: str) -> ResponseReturnValue:
        try:
            sent = load_query()["filters"]
        except InvalidParameter as exc:
            raise InvalidParameter(f"{unreadable}{exc}") from exc
        sent.validate(filters)
        return dump_raw(body)

    return Reply(give, Answer(constant(body), words="Always empty, since this engine has only images"), FiltersQuery)


def _failing(status: HTTPStatus, give: Give) -> Reply:
    return Reply(give, Answer(status=status))


def _unable(deed: str) -> Reply:
    """The refusal of what only an engine with a container runtime can do."""

    def give(_: str) -> NoReturn:
        raise Unsupported(f"Stowage is an image-only engine: it pulls, stores and pushes images, and cannot {deed}")

    return _failing(HTTPStatus.NOT_IMPLEMENTED, give)


def _unavailable(words: str) -> Reply:
    def give(_: str) -> NoReturn:
        raise Unavailable(words)

    return _failing(HTTPStatus.SERVICE_UNAVAILABLE, give)


def _missing(words: str) -> Reply:
    """The refusal of a named object; its name replaces `{}`."""

    def give(name: str) -> NoReturn:
        raise NotFound(words.replace("{}", name))

    return _failing(HTTPStatus.NOT_FOUND, give)


def _refuse_container(name: str) -> NoReturn:
    if not name:
        raise InvalidParameter('invalid name or ID supplied: ""')
    raise NotFound(f"No such container: {name}")


def _refuse_volume(name: str) -> NoReturn:
    raise NotFound(f"get {name}: no such volume" if name else "get: no such volume")


def _remove_volume(name: str) -> ResponseReturnValue:
    """With `force`, a volume that does not exist counts as removed."""
    if load_query()["force"]:
        return "", HTTPStatus.NO_CONTENT
    _refuse_volume(name)


_NO_CONTAINER = _failing(HTTPStatus.NOT_FOUND, _refuse_container)
_NO_EXEC = _missing("No such exec instance: {}")
_NO_NETWORK = _missing("network {} not found")
_NO_PLUGIN = _missing('plugin "{}" not found')
_NO_VOLUME = _failing(HTTPStatus.NOT_FOUND, _refuse_volume)
_NO_VOLUME_TO_REMOVE = Reply(_remove_volume, Answer(status=HTTPStatus.NOT_FOUND, empty=HTTPStatus.NO_CONTENT), ForceQuery)
_NO_SWARM = _unavailable(_NO_MANAGER)
_NO_MEMBER = _unavailable("This node is not part of a swarm")
_NO_CLUSTER_VOLUME = _unavailable("volume update only valid for cluster volumes, but swarm is unavailable")

_NO_BUILD = _unable("build images")
_NO_RUN = _unable("run containers")

_PS_FILTERS = (
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network", "publish", "since",
    "status", "volume",
)  # fmt: skip
_CACHE_FILTERS = ("description", "id", "inuse", "label", "label!", "parent", "private", "shared", "type", "until", "unused-for")
_NETWORK_FILTERS = ("dangling", "driver", "id", "label", "name", "scope", "type")
_VOLUME_FILTERS = ("dangling", "driver", "label", "name")
_OLD_FILTERS = ("label", "label!", "until")

ROUTES: tuple[AbsentRoute, ...] = (
    AbsentRoute("GET", "/containers/json", _empty([], *_PS_FILTERS)),
    AbsentRoute("POST", "/containers/create", _NO_RUN),
    AbsentRoute("POST", "/containers/prune", _empty({"ContainersDeleted": None, "SpaceReclaimed": 0}, *_OLD_FILTERS), "1.25"),
    AbsentRoute("DELETE", "/containers/<path:name>", _NO_CONTAINER),
    *(
        AbsentRoute("GET", f"/containers/<path:name>/{what}", _NO_CONTAINER)
        for what in ("archive", "attach/ws", "changes", "export", "json", "logs", "stats", "top")
    ),
    *(
        AbsentRoute("POST", f"/containers/<path:name>/{deed}", _NO_CONTAINER)
        for deed in ("attach", "exec", "pause", "rename", "resize", "restart", "start", "stop", "unpause", "update", "wait")
    ),
    AbsentRoute("POST", "/containers/<path:name>/kill", _missing("cannot kill container: {}: No such container: {}")),
    AbsentRoute("HEAD", "/containers/<path:name>/archive", _NO_CONTAINER),
    AbsentRoute("PUT", "/containers/<path:name>/archive", _NO_CONTAINER),
    AbsentRoute("GET", "/containers/<path:name>/checkpoints", _NO_RUN),
    AbsentRoute("POST", "/containers/<path:name>/checkpoints", _NO_RUN),
    AbsentRoute("DELETE", "/containers/<name>/checkpoints/<checkpoint>", _NO_RUN),
    AbsentRoute("POST", "/commit", _NO_RUN),
    AbsentRoute("GET", "/exec/<path:id>/json", _NO_EXEC),
    AbsentRoute("POST", "/exec/<path:name>/start", _NO_EXEC),
    AbsentRoute("POST", "/exec/<path:name>/resize", _NO_EXEC),
    AbsentRoute("POST", "/build", _NO_BUILD),
    AbsentRoute("POST", "/build/cancel", _NO_BUILD),
    AbsentRoute("POST", "/build/prune", _empty({"CachesDeleted": None, "SpaceReclaimed": 0}, *_CACHE_FILTERS), "1.31"),
    AbsentRoute("POST", "/session", _NO_BUILD),
    AbsentRoute("POST", "/grpc", _NO_BUILD),
    AbsentRoute(
        "GET", "/volumes", _empty({"Volumes": [], "Warnings": None}, *_VOLUME_FILTERS, unreadable="error reading volume filters: ")
    ),
    AbsentRoute("GET", "/volumes/<path:name>", _NO_VOLUME),
    AbsentRoute("PUT", "/volumes/<path:name>", _NO_CLUSTER_VOLUME, "1.42"),
    AbsentRoute("DELETE", "/volumes/<path:name>", _NO_VOLUME_TO_REMOVE),
    AbsentRoute("POST", "/volumes/create", _unable("make volumes")),
    AbsentRoute("POST", "/volumes/prune", _empty({"VolumesDeleted": [], "SpaceReclaimed": 0}, "all", "label", "label!"), "1.25"),
    AbsentRoute("GET", "/networks", _empty([], *_NETWORK_FILTERS)),
    AbsentRoute("GET", "/networks/", _empty([], *_NETWORK_FILTERS)),
    AbsentRoute("GET", "/networks/<path:id>", _NO_NETWORK),
    AbsentRoute("DELETE", "/networks/<path:id>", _NO_NETWORK),
    AbsentRoute("POST", "/networks/<path:id>/connect", _NO_NETWORK),
    AbsentRoute("POST", "/networks/<path:id>/disconnect", _NO_NETWORK),
    AbsentRoute("POST", "/networks/create", _unable("make networks")),
    AbsentRoute("POST", "/networks/prune", _empty({"NetworksDeleted": None}, *_OLD_FILTERS), "1.25"),
    AbsentRoute("GET", "/plugins", _empty([], "capability", "enabled")),
    AbsentRoute("GET", "/plugins/<path:name>/json", _NO_PLUGIN),
    AbsentRoute("DELETE", "/plugins/<path:name>", _NO_PLUGIN),
    *(AbsentRoute("POST", f"/plugins/<path:name>/{deed}", _NO_PLUGIN) for deed in ("disable", "enable", "push", "set")),
    AbsentRoute("POST", "/plugins/<path:name>/upgrade", _NO_PLUGIN, "1.26"),
    AbsentRoute("GET", "/plugins/privileges", _unable("run plugins")),
    AbsentRoute("POST", "/plugins/create", _unable("run plugins")),
    AbsentRoute("POST", "/plugins/pull", _unable("run plugins")),
    AbsentRoute("GET", "/swarm", _NO_SWARM),
    AbsentRoute("GET", "/swarm/unlockkey", _NO_SWARM),
    AbsentRoute("POST", "/swarm/init", _unable("be part of a swarm")),
    AbsentRoute("POST", "/swarm/join", _unable("be part of a swarm")),
    AbsentRoute("POST", "/swarm/leave", _NO_MEMBER),
    AbsentRoute("POST", "/swarm/unlock", _NO_SWARM),
    AbsentRoute("POST", "/swarm/update", _NO_SWARM),
    *(
        AbsentRoute(method, f"/{kind}{rest}", _NO_SWARM, since)
        for kind, since in (("services", "1.24"), ("secrets", "1.25"), ("configs", "1.30"))
        for method, rest in (("GET", ""), ("POST", "/create"), ("GET", "/<id>"), ("DELETE", "/<id>"), ("POST", "/<id>/update"))
    ),
    AbsentRoute("GET", "/services/<id>/logs", _NO_SWARM),
    AbsentRoute("GET", "/nodes", _NO_SWARM),
    AbsentRoute("GET", "/nodes/<id>", _NO_SWARM),
    AbsentRoute("DELETE", "/nodes/<id>", _NO_SWARM),
    AbsentRoute("POST", "/nodes/<id>/update", _NO_SWARM),
    AbsentRoute("GET", "/tasks", _NO_SWARM),
    AbsentRoute("GET", "/tasks/<id>", _NO_SWARM),
    AbsentRoute("GET", "/tasks/<id>/logs", _NO_SWARM),
)


def system_absent(give: Give) -> Callable[..., ResponseReturnValue]:
    """The view of one of ROUTES."""
    return lambda **names: give(next(iter(names.values()), ""))


for _route in ROUTES:
    blueprint.add_url_rule(
        _route.path,
        f"{_route.method} {_route.path}",
        system_absent(_route.reply.give),
        methods=[_route.method],
        since=_route.since,
        query=_route.reply.query,
        answer=_route.reply.answer,
        pace="quick",
    )
