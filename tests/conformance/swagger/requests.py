"""Images of every kind, and what is asked at each version, in this order: some come, all are asked about, and those go again."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tests.builders import ArchivedImage, Layout, docker_archive, make_layer, make_tar, on_platform, partial_layout, simple_layout

WINDOWS = {"architecture": "amd64", "os": "windows", "os.version": "10.0.20348.1", "os.features": ["win32k"]}
TOLD = {"urls": ["https://example.com/x"], "annotations": {"a": "b"}, "data": "e30=", "artifactType": "text/x-test", "platform": WINDOWS}
CONFIG: dict[str, Any] = {
    "User": "me",
    "ExposedPorts": {"80/tcp": {}},
    "Env": ["A=1"],
    "Entrypoint": ["/bin/sh"],
    "Cmd": ["-c", "true"],
    "Volumes": {"/data": {}},
    "WorkingDir": "/srv",
    "Labels": {"stage": "prod"},
    "StopSignal": "SIGINT",
    "ArgsEscaped": True,
    "Healthcheck": {
        "Test": ["CMD", "true"],
        "Interval": 10**9,
        "Timeout": 10**9,
        "StartPeriod": 10**9,
        "StartInterval": 10**9,
        "Retries": 3,
    },
    "OnBuild": ["RUN true"],
    "Shell": ["/bin/sh", "-c"],
}


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that is of one operation of the description, and the status that it gets.

    `{registry}` and the like in name, query and JSON are addresses that the test has. `lines` is the definition of each line of a stream.
    """

    operation: str
    name: str = ""
    query: str = ""
    status: int = 200
    body: bytes | None = None
    json: dict[str, str] = field(default_factory=dict)
    lines: str = ""
    since: str = "1.45"


def _full() -> bytes:
    """An image with everything that a config can say."""
    fields = {"config": CONFIG, "platform": "linux/arm/v7", "author": "me", "os.version": "1"}
    return simple_layout("docker.io/library/full:latest", label="full", **fields).to_tar()


def _bare() -> Layout:
    """An image without date, history, layers and names."""
    layout = Layout()
    layout.tag(layout.image(created=None, history=None))
    return layout


def _multi() -> bytes:
    """Two platforms with attestations, and one with everything that a descriptor can say."""
    layout = Layout()
    images = [on_platform(layout.image([make_layer(name)], platform=name), name) for name in ("linux/amd64", "linux/arm64/v8")]
    windows = {**layout.image([make_layer("windows")], platform="windows/amd64"), **TOLD}
    layout.tag(layout.index([*images, *map(layout.attestation, images), windows]), "docker.io/library/multi:latest")
    return layout.to_tar()


def _chart() -> bytes:
    layout = Layout()
    layout.tag(layout.chart(), "docker.io/library/chart:1")
    return layout.to_tar()


ARCHIVES = {
    "plain": simple_layout().to_tar(),
    "full": _full(),
    "bare": _bare().to_tar(),
    "multi": _multi(),
    "partial": partial_layout().to_tar(),
    "chart": _chart(),
    "classic": docker_archive(ArchivedImage((make_layer("one"), make_layer("two")), ("classic:1", "classic:2"))),
}
PLAIN_ID, BARE_ID = (layout.manifests[0]["digest"] for layout in (simple_layout(), _bare()))
NAMES = ("simple", "full", "multi", "partial", "chart:1", "classic:1", "imported", BARE_ID, "{registry}/team/app:1")
ARM64 = quote(json.dumps({"os": "linux", "architecture": "arm64"}))
IMPORTED = make_tar({"etc/motd": b"hello\n"})

LOAD, CREATE, PUSH = "POST /images/load", "POST /images/create", "POST /images/{name}/push"
LIST, INSPECT, HISTORY = "GET /images/json", "GET /images/{name}/json", "GET /images/{name}/history"
ATTESTATIONS, SEARCH, DISTRIBUTION = "GET /images/{name}/attestations", "GET /images/search", "GET /distribution/{name}/json"
SAVE, SAVE_ALL, TAG = "GET /images/{name}/get", "GET /images/get", "POST /images/{name}/tag"
DELETE, PRUNE = "DELETE /images/{name}", "POST /images/prune"
PING, INFO, DF, AUTH, EVENTS = "GET /_ping", "GET /info", "GET /system/df", "POST /auth", "GET /events"

ASKED = (
    # Load.
    *(Ask(LOAD, body=ARCHIVES[kind], lines="BuildInfo") for kind in ("plain", "bare", "classic", "multi")),
    Ask(LOAD, body=b"no archive", lines="BuildInfo"),
    Ask(LOAD, query="platform=x", body=b"", status=400, since="1.48"),
    # Pull and import.
    Ask(CREATE, query="fromImage={registry}/team/app&tag=1", lines="CreateImageInfo"),
    Ask(CREATE, query="fromImage={registry}/team/broken&tag=1", lines="CreateImageInfo"),
    Ask(CREATE, query="fromSrc=-&repo=imported", body=IMPORTED, lines="CreateImageInfo"),
    Ask(CREATE, query="fromImage={registry}/team/none&tag=1", status=404),
    Ask(CREATE, query="fromImage={private}/team/app&tag=1", status=500),
    Ask(CREATE, query="fromImage=UPPER", status=400),
    # List.
    *(Ask(LIST, query=query) for query in ("", "all=1&digests=1", "shared-size=1")),
    Ask(LIST, query="manifests=1", since="1.47"),
    Ask(LIST, query="manifests=1&identity=1", since="1.54"),
    Ask(LIST, query='filters={"dangling":["true"]}'),
    Ask(LIST, query='filters={"x":["y"]}', status=400),
    # One image.
    *(Ask(operation, name) for operation in (INSPECT, HISTORY) for name in NAMES),
    *(Ask(INSPECT, name, "manifests=1", since="1.48") for name in NAMES),
    Ask(INSPECT, "multi", f"platform={ARM64}", since="1.49"),
    Ask(INSPECT, "multi", "platform=x", status=400, since="1.49"),
    Ask(HISTORY, "multi", f"platform={ARM64}", since="1.48"),
    *(Ask(operation, "none", status=404) for operation in (INSPECT, HISTORY, SAVE, DELETE)),
    Ask(TAG, "none", "repo=new", status=404),
    *(Ask(operation, "UPPER", status=400) for operation in (INSPECT, HISTORY, SAVE, DELETE)),
    *(Ask(ATTESTATIONS, name, query, since="1.55") for name in ("multi", "partial", "simple") for query in ("", "statement=1")),
    Ask(ATTESTATIONS, "none", status=404, since="1.55"),
    Ask(ATTESTATIONS, "multi", "platform=x", status=400, since="1.55"),
    Ask(SAVE, "multi"),
    Ask(SAVE_ALL, query="names=simple&names=full"),
    Ask(SAVE_ALL, query="names=none", status=404),
    # Tag and push.
    Ask(TAG, "simple", "repo={registry}/team/pushed&tag=1", status=201),
    Ask(TAG, "simple", "repo=UPPER", status=400),
    Ask(PUSH, "{registry}/team/pushed", "tag=1", lines="PushImageInfo"),
    Ask(PUSH, "{registry}/team/none", "tag=1", lines="PushImageInfo"),
    Ask(PUSH, "UPPER", status=400),
    # Registries.
    Ask(SEARCH, query="term={index}/app"),
    Ask(SEARCH, query="term=app&limit=1000", status=400),
    Ask(SEARCH, query="term={broken_index}/app", status=500),
    *(Ask(DISTRIBUTION, f"{{registry}}/team/{name}:1") for name in ("app", "multi")),
    Ask(DISTRIBUTION, "{refusing}/team/app:1", status=401),
    Ask(DISTRIBUTION, "{private}/team/app:1", status=500),
    Ask(DISTRIBUTION, "{registry}/team/none:1", status=404),
    Ask(DISTRIBUTION, "127.0.0.1:1/none", status=500),
    Ask(DISTRIBUTION, "UPPER", status=400),
    Ask(AUTH, json={"serveraddress": "{private}", "username": "me", "password": "secret"}),
    Ask(AUTH, json={"serveraddress": "{refusing}", "username": "me", "password": "secret"}, status=401),
    Ask(AUTH, json={"serveraddress": "{private}", "username": "me", "password": "wrong"}, status=500),
    Ask(AUTH, body=b"{", status=400),
    # The engine, and that it has nothing else.
    *(Ask(operation) for operation in (PING, "HEAD /_ping", INFO, "GET /version", DF)),
    *(Ask(DF, query=f"type={kind}") for kind in ("image", "container", "volume", "build-cache")),
    Ask(DF, query="verbose=1", since="1.52"),
    Ask(DF, query="type=x", status=400),
    *(Ask(f"GET /{kind}") for kind in ("containers/json", "volumes", "networks", "plugins")),
    *(Ask(f"POST /{kind}/prune") for kind in ("containers", "volumes", "networks", "build")),
    # Remove, and what was told of all that.
    Ask(DELETE, "multi", f"platforms={ARM64}&force=1", since="1.50"),
    Ask(DELETE, PLAIN_ID, status=409),
    Ask(DELETE, PLAIN_ID, "force=1"),
    *(Ask(DELETE, name) for name in ("classic:1", "imported", "{registry}/team/app:1")),
    Ask(PRUNE, query='filters={"dangling":["true"]}'),
    Ask(PRUNE, query='filters={"x":["y"]}', status=400),
    Ask(EVENTS, query="since={began}&until={now}", lines="EventMessage"),
    Ask(EVENTS, query="until=x", status=400),
)
