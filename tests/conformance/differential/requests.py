"""Odd requests, and what is asked of the engine itself."""

# fmt: off

from __future__ import annotations

import urllib.parse
from pathlib import Path

from tests.conformance.differential.steps import FORM, Scenario, fresh, shapes
from tests.conformance.recorded.api import Api

ROUTES = (
    *("/_ping", "/version", "/info", "/images/json", "/images/load", "/images/get", "/images/create", "/images/search", "/images/prune",
        "/events", "/auth"),
    *("/images/full/json", "/images/full/history", "/images/full/get", "/images/full/tag", "/images/full/push", "/images/full",
        "/system/df"),
    *("/distribution/nope/json", "/containers/json", "/volumes", "/networks", "/nope"),
)
KEPT_BACK = {
    *(("GET", "/events"), ("HEAD", "/events"), ("DELETE", "/images/full"), ("GET", "/images/search"), ("GET", "/distribution/nope/json")),
}


def methods(a: Api, folder: Path, registry: str) -> None:
    """Every route with every method, save those that do not end or that ask a registry elsewhere."""
    fresh(a, folder, "full")
    for path in ROUTES:
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            if (method, path) in KEPT_BACK:
                continue
            a.call(f"{method} {path}", method, path, kind="none")


def odd_parameters(a: Api, folder: Path, registry: str) -> None:
    fresh(a, folder, "full", "family", "multi")
    for query in ("all=1&all=0", "ALL=1", "nosuch=1", "all", "all=%31", "filters=%7B%7D&filters=%7B", "shared-size=banana",
        "digests=banana", "manifests=1", "all=1;digests=1"):
        a.call(f"list {query}", "GET", "/images/json", query, sort=True)
    for query in ("platform=linux/arm64", "manifests=1", "size=1", "verbose=1"):
        a.call(f"inspect {query}", "GET", "/images/multi/json", query)
        a.call(f"history {query}", "GET", "/images/multi/history", query)
    for version in ("1.24", "1.30", "1.41", "1.45"):
        for path in ("/images/json", "/images/full/json", "/images/full/history", "/containers/json", "/volumes"):
            a.call(f"{path} {version}", "GET", path, v=version, sort=True)
    for name in ("full%3Alatest", "docker.io%2Flibrary%2Ffull", "library/full", "index.docker.io/library/full:latest", "full:LATEST",
        "full/", "/full", "full//x", "%66ull", "full%00"):
        a.call(f"inspect {name}", "GET", f"/images/{name}/json")
    for repo, tag in (("a", "1"), ("A", "1"), ("", ""), ("a:1", ""), ("a:1", "2"), ("a", "-"), ("a@sha256:" + "a" * 64, "")):
        a.call(f"tag form {repo} {tag}", "POST", "/images/full/tag", body=urllib.parse.urlencode({"repo": repo, "tag": tag}),
            headers=FORM, kind="text")
    for query in ("force=1&force=0", "noprune=banana", "force=", "platforms=%7B%7D"):
        a.call(f"delete nope {query}", "DELETE", "/images/nope", query)


def bodies(a: Api, folder: Path, registry: str) -> None:
    """Bodies of the wrong kind, and none at all."""
    fresh(a, folder)
    archive = (folder / "full.tar").read_bytes()
    for kind in ("application/x-tar", "application/tar", "application/json", "text/plain", "application/octet-stream", ""):
        a.call(f"load as {kind}", "POST", "/images/load", body=archive, headers={"Content-Type": kind}, kind="stream")
    for text in ("", "{", "[]", '"x"', "1", '{"username":1}', '{"serveraddress":"127.0.0.1:1"}', '{"serveraddress":[]}'):
        for headers in ({"Content-Type": "application/json"}, {"Content-Type": "text/plain"}, {}):
            a.call(f"auth {text} {headers}", "POST", "/auth", body=text, headers=headers)
    for header in ("", "e30=", "bnVsbA==", "!!!", "W10=", "eyJ1c2VybmFtZSI6MX0=", "e30"):
        a.call(f"pull auth {header}", "POST", "/images/create", {"fromImage": f"{registry}/none", "tag": "1"},
            headers={"X-Registry-Auth": header}, kind="stream")
        a.call(f"push auth {header}", "POST", "/images/nope/push", headers={"X-Registry-Auth": header}, kind="stream")
        a.call(f"distribution auth {header}", "GET", f"/distribution/{registry}/none/json", headers={"X-Registry-Auth": header})


def disk_usage(a: Api, folder: Path, registry: str) -> None:
    masked = ("BuilderSize", "BuildCache")
    fresh(a, folder)
    for query in ("", "type=image", "type=image&type=volume", "type=volume", "type=container", "type=build-cache", "type=banana",
        "type=", "type=IMAGE", "verbose=1", "type=image&type=banana"):
        a.call(f"df of nothing {query}", "GET", "/system/df", query, mask=masked)
    fresh(a, folder, "full", "multi", "untagged", "classic", "encodings", "histories")
    for version in ("1.24", "1.30", "1.40", "1.42", "1.44", "1.45"):
        a.call(f"df {version}", "GET", "/system/df", v=version, mask=(*masked, "Images"))
        images = sorted(a.raw("GET", f"/v{version}/system/df").json()["Images"], key=lambda image: str(image["Id"]))
        a.note(f"df images {version}", [{key: type(value).__name__ for key, value in image.items()} for image in images])
    a.call("df form", "POST", "/system/df", body="type=image", headers=FORM, kind="none")


def engine(a: Api, folder: Path, registry: str) -> None:
    """What is asked of the engine itself: the keys and their JSON types."""
    for version in ("1.24", "1.30", "1.40", "1.43", "1.45"):
        for path in ("/version", "/info"):
            a.note(f"{path} {version}", shapes(a.raw("GET", f"/v{version}{path}").json()))
        for path in ("/containers/json", "/containers/json?all=1", "/volumes"):
            a.call(f"{path} {version}", "GET", path, v=version)
    for path, filters in (("/containers/json", "{"), ("/containers/json", '{"nosuch":["x"]}'), ("/volumes", "{"), ("/volumes",
        '{"nosuch":["x"]}'), ("/networks", "{"), ("/networks", '{"nosuch":["x"]}')):
        a.call(f"{path} {filters}", "GET", path, {"filters": filters})
    for path in ("/containers/x/json", "/volumes/x", "/networks/x", "/containers/x/logs?stdout=1", "/exec/x/json"):
        a.call(path, "GET", path, mask=("message",))


def absent(a: Api, folder: Path, registry: str) -> None:
    """What is asked for by name, and is not there."""
    for method, path in (
        *(("DELETE", "/containers/x"), ("POST", "/containers/x/start"), ("POST", "/containers/x/stop"), ("POST", "/containers/x/kill"),
            ("POST", "/containers/x/wait"), ("GET", "/containers/x/top")),
        *(("GET", "/containers/x/changes"), ("GET", "/containers/x/export"), ("GET", "/containers/x/stats"),
            ("POST", "/containers/x/pause"), ("POST", "/containers/x/rename?name=y"), ("POST", "/containers/x/resize?h=1&w=1")),
        *(("DELETE", "/volumes/x"), ("DELETE", "/volumes/x?force=1"), ("DELETE", "/networks/x"), ("GET", "/plugins"),
            ("GET", "/plugins/x/json"), ("DELETE", "/plugins/x"), ("POST", "/plugins/x/enable?timeout=0"), ("POST", "/plugins/x/disable")),
        *(("POST", "/containers/prune"), ("POST", "/volumes/prune"), ("POST", "/networks/prune"), ("GET", "/swarm"),
            ("GET", "/services"), ("GET", "/nodes"), ("GET", "/tasks"), ("GET", "/secrets"), ("GET", "/configs")),
        *(("GET", "/services/x"), ("DELETE", "/services/x"), ("GET", "/nodes/x"), ("GET", "/swarm/unlockkey"), ("POST", "/swarm/leave"),
            ("POST", "/exec/x/resize?h=1&w=1")),
    ):
        a.call(f"{method} {path}", method, path)


SCENARIOS: tuple[Scenario, ...] = (methods, odd_parameters, bodies, disk_usage, engine, absent)
