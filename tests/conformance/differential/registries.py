"""Pull, push, search and distribution inspect, at a registry that every engine reaches."""

# fmt: off

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.builders import Layout, make_layer, on_platform
from tests.conformance.differential.steps import FORM, MALFORMED, Scenario, clear, fresh
from tests.conformance.recorded.api import Api
from tests.conformance.recorded.scenarios import ids


def publish(registry: str, repository: str, layout: Layout, tags: dict[str, Any]) -> None:
    """Put a layout's blobs, and the manifests under their tags, into the registry."""
    base = f"http://{registry}/v2/{repository}"

    def send(method: str, url: str, content: bytes, kind: str) -> Any:
        return urllib.request.urlopen(urllib.request.Request(url, content, {"Content-Type": kind}, method=method), timeout=30)

    manifests = {digest: json.loads(blob) for digest, blob in layout.blobs.items() if blob.startswith(b'{"schemaVersion"')}
    for digest, blob in layout.blobs.items():
        if digest not in manifests:
            location = send("POST", f"{base}/blobs/uploads/", b"", "application/octet-stream").headers["Location"]
            send("PUT", f"{location}&digest={digest}", blob, "application/octet-stream")
    for digest, document in sorted(manifests.items(), key=lambda pair: "manifests" in pair[1]):
        send("PUT", f"{base}/manifests/{digest}", layout.blobs[digest], document["mediaType"])
    for tag, descriptor in tags.items():
        send("PUT", f"{base}/manifests/{tag}", layout.blobs[descriptor["digest"]], descriptor["mediaType"])


def publish_samples(registry: str) -> dict[str, Any]:
    """Put team/app into the registry; of each tag the descriptor. `arm` is an index of another platform only.

    No two have a layer with equal content in different compressions: Engine 26 does not fetch the second, and then does not list its image.
    """
    layout = Layout()
    tags = {
        "one": layout.image([make_layer("a"), make_layer("b")], config={"Labels": {"a": "b"}}),
        "two": layout.image([make_layer("g"), make_layer("c")], compression="none"),
        "docker": layout.image([make_layer("d")], docker=True),
        "multi": layout.multi_platform(attested=False),
        "arm": layout.index([on_platform(layout.image([make_layer("e")], platform="linux/arm64"), "linux/arm64")]),
        "latest": layout.image([make_layer("f")]),
    }
    publish(registry, "team/app", layout, tags)
    return tags


def pulls(a: Api, folder: Path, registry: str) -> None:
    fresh(a, folder)
    tags = publish_samples(registry)
    name = f"{registry}/team/app"
    asked: list[dict[str, str]] = [{"fromImage": name, "tag": tag} for tag in tags]
    asked += [{"fromImage": f"{name}:one"}, {"fromImage": f"{name}:one", "tag": "two"},
        {"fromImage": name, "tag": tags["one"]["digest"]}, {"fromImage": f"{name}@{tags['two']['digest']}"}]
    asked += [{"fromImage": name, "tag": tag, "platform": asked_for} for tag in ("multi", "one", "arm") for asked_for in ("linux/arm64",
        "linux/amd64", "linux/s390x", "linux", "arm64", "banana", "a/b/c/d", "")]
    asked += [{"fromImage": name, "tag": "nope"}, {"fromImage": f"{registry}/none", "tag": "1"},
        {"fromImage": name, "tag": "sha256:" + "a" * 64}, {"fromImage": name, "tag": "bad tag"}, {"fromImage": name, "tag": "sha256:short"}]
    asked += [{"fromImage": name, "tag": "one", "repo": "x"}, {"fromImage": ""}, {"fromImage": "UPPER", "tag": "1"},
        {"fromImage": "scratch", "tag": "latest"}, {"fromImage": "127.0.0.1:1/x", "tag": "1"}, {"tag": "one"}]
    for query in asked:
        a.call(f"pull {query}", "POST", "/images/create", query, kind="stream")
    a.call("pulled", "GET", "/images/json", {"digests": "1"}, sort=True)
    for tag in ("one", "two", "docker", "multi"):
        a.call(f"inspect pulled {tag}", "GET", f"/images/{name}:{tag}/json")
        a.call(f"history of pulled {tag}", "GET", f"/images/{name}:{tag}/history")
    clear(a)
    a.call("pull all", "POST", "/images/create", {"fromImage": f"{registry}/team/app"}, kind="stream")
    a.call("pull form", "POST", "/images/create", body=f"fromImage={name}&tag=one", headers=FORM, kind="stream")
    for version in ("1.24", "1.30", "1.32", "1.41"):
        a.call(f"pull {version}", "POST", "/images/create", {"fromImage": name, "tag": "two", "platform": "linux/arm64"}, v=version,
            kind="stream")


def pushes(a: Api, folder: Path, registry: str) -> None:
    fresh(a, folder, "full", "multi", "encodings", "classic")
    auth = {"X-Registry-Auth": "e30="}
    for source in ("full", "multi", "zst", "rawlayers", "dockertypes", "classic:1"):
        name = f"{registry}/pushed/{source.partition(':')[0]}"
        a.raw("POST", f"/v1.45/images/{source}/tag?repo={name}&tag=1")
        a.raw("POST", f"/v1.45/images/{source}/tag?repo={name}&tag=2")
        a.raw("POST", f"/v1.45/images/{name}/push", headers=auth)  # so that it makes no difference which engine comes first
        for tag in ("1", "1", "nope", "", "bad tag", "sha256:" + "a" * 64):
            a.call(f"push {source} {tag}", "POST", f"/images/{name}/push", {"tag": tag} if tag else "", headers=auth, kind="stream")
        answer = urllib.request.urlopen(urllib.request.Request(f"http://{registry}/v2/pushed/{source.partition(':')[0]}/tags/list"))
        a.note(f"tags of {source}", sorted(json.loads(answer.read())["tags"]))
    identity = ids(a)["full:latest"]
    a.raw("POST", "/v1.45/images/full/tag?repo=127.0.0.1:1/x&tag=1")
    for name in ("nope", f"{registry}/nope", f"{registry}/pushed/full@{identity}", f"{registry}/pushed/full:1", identity,
        identity[7:19], "127.0.0.1:1/x", *MALFORMED):
        a.call(f"push {name}", "POST", f"/images/{name}/push", headers=auth, kind="stream")
    for version in ("1.24", "1.30", "1.41"):
        a.call(f"push {version}", "POST", f"/images/{registry}/pushed/full/push", {"tag": "1"}, headers=auth, v=version, kind="stream")


def registry_questions(a: Api, folder: Path, registry: str) -> None:
    tags = publish_samples(registry)
    name = f"{registry}/team/app"
    for reference in (*(f"{name}:{tag}" for tag in tags), f"{name}@{tags['one']['digest']}", name, f"{name}:nope", f"{registry}/none",
        f"{name}@sha256:{'a' * 64}", "127.0.0.1:1/x", *MALFORMED):
        for version in ("1.30", "1.45"):
            a.call(f"distribution {reference} {version}", "GET", f"/distribution/{reference}/json", v=version)
    a.call("distribution 1.29", "GET", f"/distribution/{name}/json", v="1.29")
    for query in ("limit=banana", "limit=101", "term=x&limit=0&filters=%7B", f"term={registry}/x", f"term={registry}/x&limit=101",
        "term=x&limit=101", "term=x&limit=banana", 'term=x&filters={"nosuch":["x"]}', 'term=x&filters={"stars":["banana"]}',
        'term=x&filters={"is-official":["banana"]}', "term=127.0.0.1:1/x", "term=http://x/y"):
        a.call(f"search {query}", "GET", "/images/search", urllib.parse.quote(query, safe="=&%"))


SCENARIOS: tuple[Scenario, ...] = (pulls, pushes, registry_questions)
