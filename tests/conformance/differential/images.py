"""Save, import, events, changes in turns, and damaged archives."""

# fmt: off

from __future__ import annotations

import contextlib
import io
import json
import re
import tarfile
import time
import urllib.parse
from pathlib import Path
from typing import Any

from tests import special_images as special
from tests.builders import ArchivedImage, Layout, compress, docker_archive_members, make_layer, make_tar
from tests.conformance.differential.steps import IMPORTED, Scenario, clear, fresh
from tests.conformance.recorded.api import Api
from tests.conformance.recorded.scenarios import ids, load

DOCUMENTS = {"index.json", "manifest.json", "oci-layout", "repositories"}


def contents(archive: bytes) -> dict[str, Any]:
    """The names in a saved archive and what its JSON documents say."""
    with contextlib.suppress(tarfile.TarError), tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]
        with contextlib.suppress(ValueError):
            documents = {name: json.loads(files[name]) for name in sorted(files) if name in DOCUMENTS}
            documents.get("manifest.json", []).sort(key=lambda entry: json.dumps(entry, sort_keys=True))
            documents.get("index.json", {}).get("manifests", []).sort(key=lambda entry: json.dumps(entry, sort_keys=True))
            return {"names": sorted(files), "documents": documents}
    return {"unreadable": True}


def saves(a: Api, folder: Path, registry: str) -> None:
    fresh(a, folder, "full", "family", "multi", "encodings", "classic")
    identity = ids(a)["full:latest"]
    alone = ("full", "full:latest", identity, identity[7:], identity[7:19], f"full@{identity}", "base:1", "team/child:v2",
        "localhost:5000/team/grand:v3", "zst", "rawlayers", "dockertypes", "classic:1", "multi")
    for name in alone:
        answer = a.call(f"save {name}", "GET", f"/images/{name}/get", kind="none")
        a.note(f"saved {name}", contents(answer.body))
    for version in ("1.24", "1.41", "1.45"):
        for names in (("full", "base:1"), ("base:1", "full"), ("base:1", "base:latest"), ("base",), ("full", "full"),
            ("full", identity), (identity, "full"), ("classic:1", "other/classic:b"), ("nope",), ("full", "nope"), ("UPPER",), ("",)):
            answer = a.call(f"save {names} {version}", "GET", "/images/get", [("names", name) for name in names], v=version, kind="none")
            if answer.status == 200:
                a.note(f"saved {names} {version}", contents(answer.body))
    again = a.raw("GET", "/v1.45/images/get?names=full&names=base:1&names=team/child:v2&names=zst&names=classic:1").body
    clear(a)
    a.call("load what was saved", "POST", "/images/load", body=again, kind="stream")
    a.call("list what was saved", "GET", "/images/json", {"digests": "1"}, sort=True)
    for name in ("full", "base:1", "zst"):
        a.call(f"inspect what was saved {name}", "GET", f"/images/{name}/json")
        a.call(f"history of what was saved {name}", "GET", f"/images/{name}/history")


CHANGES = (
    *("CMD echo hi", 'CMD ["a","b"]', "CMD", "ENTRYPOINT top", 'ENTRYPOINT ["x"]', "ENV A=1", "ENV A 1 2", "ENV A=1 B=2", "ENV",
        "ENV A", 'ENV A="x y" B=z\\ w'),
    *("EXPOSE 80", "EXPOSE 80/udp 90", "EXPOSE 80-82", "EXPOSE banana", "EXPOSE", "LABEL a=b", 'LABEL a="b c" d=e', "LABEL a", "LABEL",
        "USER me", "USER", "WORKDIR /x", "WORKDIR x", "WORKDIR"),
    *("VOLUME /v", 'VOLUME ["/a","/b"]', "VOLUME", "ONBUILD RUN x", "ONBUILD", "ONBUILD ONBUILD RUN x", "STOPSIGNAL SIGKILL",
        "STOPSIGNAL 9", "STOPSIGNAL banana", "HEALTHCHECK NONE"),
    *("HEALTHCHECK CMD true", "HEALTHCHECK --interval=5s --retries=3 CMD x", "HEALTHCHECK --interval=x CMD x", "HEALTHCHECK",
        'SHELL ["a"]', "SHELL a", "RUN x", "FROM x", "COPY a b", "ADD a b"),
    *("MAINTAINER me", "NOPE x", "", " ", "# comment", "cmd lower", "ENV A=1\nENV B=2", "ARG x", "ARG x=1"),
)


def imports(a: Api, folder: Path, registry: str) -> None:
    fresh(a, folder)
    rootfs = (folder / "rootfs.tar").read_bytes()
    for number, change in enumerate(CHANGES):
        query = {"fromSrc": "-", "repo": "imported", "tag": str(number), "changes": change}
        a.call(f"import {change!r}", "POST", "/images/create", query, body=rootfs, kind="stream", mask=("status",))
        a.call(f"imported {change!r}", "GET", f"/images/imported:{number}/json", mask=IMPORTED)
    clear(a)
    for written in ("repo=r", "repo=r&tag=t", "repo=r:t", "repo=UPPER", "repo=r&tag=bad tag", "tag=only", "", "repo=r@sha256:" + "a" * 64,
        "message=hello&repo=m", "repo=two&changes=USER a&changes=ENV X=1"):
        a.call(f"import {written}", "POST", "/images/create", "fromSrc=-&" + urllib.parse.quote(written, safe="=&"), body=rootfs,
            kind="stream", mask=("status",))
    for name in ("r", "r:t", "m", "two"):
        a.call(f"imported {name}", "GET", f"/images/{name}/json", mask=IMPORTED)
        a.call(f"history of imported {name}", "GET", f"/images/{name}/history", mask=IMPORTED)
    for asked in ("linux/amd64", "linux/arm64", "windows/amd64", "linux", "banana/x", "a/b/c/d"):
        a.call(f"import for {asked}", "POST", "/images/create", {"fromSrc": "-", "repo": "p", "platform": asked}, body=rootfs,
            kind="stream", mask=("status",))
    a.call("imported for a platform", "GET", "/images/p/json", mask=IMPORTED)
    for name, content in (("gzip", compress(rootfs, "gzip")), ("bzip2", compress(rootfs, "bzip2")), ("xz", compress(rootfs, "xz")),
        ("zstd", compress(rootfs, "zstd")), ("empty", b""), ("garbage", b"garbage" * 200), ("half", compress(rootfs, "gzip")[:40])):
        a.call(f"import of {name}", "POST", "/images/create", {"fromSrc": "-", "repo": "c", "tag": name}, body=content, kind="stream",
            mask=("status",))
        a.call(f"imported of {name}", "GET", f"/images/c:{name}/json", mask=(*IMPORTED, "message"))
    for source in ("http://127.0.0.1:1/x.tar", "127.0.0.1:1/x.tar", "ftp://x/y", "/etc/passwd"):
        a.call(f"import from {source}", "POST", "/images/create", {"fromSrc": source, "repo": "u"}, kind="stream")


def events(a: Api, folder: Path, registry: str) -> None:
    fresh(a, folder)
    began = time.time()

    def told(label: str, filters: dict[str, list[str]] | None = None, version: str = "1.45") -> None:
        query = {"since": f"{began:.9f}", "until": f"{time.time():.9f}", **({"filters": json.dumps(filters)} if filters else {})}
        messages = a.raw("GET", f"/v{version}/events?{urllib.parse.urlencode(query)}").messages()
        a.note(label, [{key: value for key, value in message.items() if key not in {"time", "timeNano"}} for message in messages])
        a.note(f"{label} types", [sorted((key, type(value).__name__) for key, value in message.items()) for message in messages])

    load(a, folder, "full.tar", record=False)
    load(a, folder, "family.tar", record=False)
    told("events of load")
    identity = ids(a)["full:latest"]
    for repo, tag in (("a", "1"), ("a", "1"), ("b/c", ""), ("localhost:5000/d", "2")):
        a.raw("POST", f"/v1.45/images/full/tag?repo={repo}&tag={tag}")
    told("events of tag")
    a.raw("GET", "/v1.45/images/get?names=full&names=base:1")
    a.raw("GET", f"/v1.45/images/{identity}/get")
    told("events of save")
    a.raw("DELETE", "/v1.45/images/a:1")
    a.raw("DELETE", f"/v1.45/images/{identity}?force=1")
    a.raw("DELETE", "/v1.45/images/nope")
    told("events of delete")
    for filters in (
        *({"type": ["image"]}, {"type": ["container"]}, {"type": ["banana"]}, {"event": ["tag"]}, {"event": ["tag", "untag"]},
            {"event": ["nope"]}, {"image": ["full"]}, {"image": ["full:latest"]}),
        *({"image": ["base"]}, {"image": [identity]}, {"label": ["stage"]}, {"label": ["stage=prod"]}, {"label": ["nope"]},
            {"scope": ["local"]}, {"scope": ["swarm"]}, {"container": ["x"]}),
        *({"image": ["a"], "event": ["tag"]}, {"daemon": ["x"]}, {"volume": ["x"]}, {"network": ["x"]}),
    ):
        told(f"events {json.dumps(filters)}", filters)
    for version in ("1.24", "1.30", "1.41", "1.44"):
        told(f"events {version}", version=version)
    for query in ("until=banana", "since=banana&until=1", "since=2&until=1", "filters=%7B&until=1", 'filters={"nosuch":["x"]}&until=1',
        "since=0&until=1", "since=-1&until=1", "since=1.5&until=1.7"):
        a.call(f"events {query}", "GET", "/events", urllib.parse.quote(query, safe="=&%"), kind="stream", v="1.45")


def repeated_changes(a: Api, folder: Path, registry: str) -> None:
    """Tag, untag, delete, prune and load again, in turns, and what a list says after each."""

    def state(label: str) -> None:
        a.call(f"list {label}", "GET", "/images/json", {"digests": "1"}, sort=True)

    fresh(a, folder, "full", "family")
    identity = ids(a)["full:latest"]
    steps = (
        *(("POST", "/images/full/tag?repo=a&tag=1"), ("POST", "/images/base/tag?repo=a&tag=1"), ("DELETE", "/images/full"),
            ("POST", "/images/a:1/tag?repo=full&tag=latest"), ("DELETE", "/images/a"), ("DELETE", "/images/a:1")),
        *(("DELETE", f"/images/{identity}"), ("DELETE", f"/images/{identity[7:19]}?force=1"), ("DELETE", "/images/base:1?noprune=1"),
            ("POST", "/images/prune"), ("DELETE", "/images/base:latest"), ("DELETE", "/images/base:latest")),
    )
    for number, (method, path) in enumerate(steps):
        a.call(f"step {number} {method} {path}", method, path, kind="none" if method == "POST" else "json")
        state(f"after step {number}")
    load(a, folder, "full.tar", "load again")
    state("after loading again")
    load(a, folder, "untagged.tar", "load untagged")
    state("with an untagged image")
    untagged = re.findall(rb"sha256:[0-9a-f]{64}", a.raw("GET", '/v1.45/images/json?filters={"dangling":["true"]}').body)
    for path in ("json", "history"):
        a.call(f"{path} of the untagged image", "GET", f"/images/{untagged[0].decode()}/{path}")
    a.call("delete the untagged image", "DELETE", f"/images/{untagged[0].decode()}")
    state("without it")


def damaged() -> dict[str, bytes]:
    """Archives with one thing wrong each."""
    layout = Layout()
    layout.tag(layout.image([make_layer()]), "docker.io/library/simple:latest")
    members = layout.members()
    classic = docker_archive_members([ArchivedImage((make_layer(),), ("classic:1",))])
    (config,) = [name for name in classic if name.endswith(".json") and name != "manifest.json"]
    whole, manifest = make_tar(members), classic["manifest.json"]
    assert isinstance(manifest, bytes)
    return {
        "index is no JSON": make_tar({**members, "index.json": b"{"}),
        "index is null": make_tar({**members, "index.json": b"null"}),
        "index is a list": make_tar({**members, "index.json": b"[]"}),
        "index without manifests": make_tar({**members, "index.json": b"{}"}),
        "index without images": make_tar({**members, "index.json": b'{"schemaVersion":2,"manifests":[]}'}),
        "layout version": make_tar({**members, "oci-layout": b'{"imageLayoutVersion":"9.9.9"}'}),
        "no layout file": make_tar({name: content for name, content in members.items() if name != "oci-layout"}),
        "no index": make_tar({name: content for name, content in members.items() if name != "index.json"}),
        "manifest.json is an object": make_tar({**classic, "manifest.json": b"{}"}),
        "manifest.json is empty": make_tar({**classic, "manifest.json": b"[]"}),
        "manifest.json is null": make_tar({**classic, "manifest.json": b"null"}),
        "config is no JSON": make_tar({**classic, config: b"{"}),
        "config is null": make_tar({**classic, config: b"null"}),
        "bad tag": make_tar({**classic, "manifest.json": manifest.replace(b"classic:1", b"UPPER:1")}),
        "one block": whole[:512],
        "cut after the header": whole[:1024],
        "zeroes": bytes(10240),
        "empty tar": make_tar({}),
        "unrelated tar": make_tar({"a": b"b"}),
        "trailing garbage": whole + b"garbage" * 100,
        "gzip cut": compress(whole, "gzip")[:-20],
        "gzip of garbage": compress(b"garbage" * 100, "gzip"),
    }


def broken_archives(a: Api, folder: Path, registry: str) -> None:
    fresh(a, folder)
    for path in sorted(set(folder.glob("broken-*.tar")) - {folder / "broken-name.tar"}):
        load(a, folder, path.name)
        a.call(f"list after {path.name}", "GET", "/images/json", sort=True)
        clear(a)
    for name, content in damaged().items():
        a.call(f"load {name}", "POST", "/images/load", body=content, kind="stream")
        a.call(f"list after {name}", "GET", "/images/json", sort=True)
        clear(a)
    load(a, folder, "broken-name.tar")  # the last, as an engine may not find it again


def special_images(a: Api, folder: Path, registry: str) -> None:
    """What moby's own tests load: each alone is listed, inspected, saved, loaded again from that, and deleted."""
    several, partial = (special.multi_platform(f"{name}:latest", ["linux/amd64", "linux/arm64"], missing)[0]
        for name, missing in (("two", []), ("partial", ["linux/riscv64"])))
    for name, content in (("emptyfs", special.empty_fs()), ("multilayer", special.multi_layer()), ("two", several), ("partial", partial),
        ("labeled", special.labeled("labeled:latest", {"a": "b"})), ("random", special.random_platform("linux/amd64", 7)),
        ("dangling", special.dangling())):
        fresh(a, folder)
        a.call(f"load {name}", "POST", "/images/load", body=content, kind="stream")
        a.call(f"list {name}", "GET", "/images/json", sort=True)
        known = name if name != "dangling" else re.findall(r"sha256:[0-9a-f]{64}", a.raw("GET", "/v1.45/images/json").body.decode())[0]
        a.call(f"inspect {name}", "GET", f"/images/{known}/json")
        saved = a.raw("GET", f"/v1.45/images/{known}/get").body
        a.note(f"saved {name}", contents(saved))
        a.call(f"delete {name}", "DELETE", f"/images/{known}")
        a.call(f"load {name} as saved", "POST", "/images/load", body=saved, kind="stream")
        a.call(f"list {name} as saved", "GET", "/images/json", sort=True)


SCENARIOS: tuple[Scenario, ...] = (saves, imports, events, repeated_changes, special_images, broken_archives)
