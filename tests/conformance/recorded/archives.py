"""The image archives that the recorded answers are about, built from fixed bytes, so that digests are equal on every machine."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from typing import Any

Descriptor = dict[str, Any]

EPOCH = 1_700_000_000
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
D_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
D_CONFIG = "application/vnd.docker.container.image.v1+json"
D_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def sha(b: bytes) -> str:
    return "sha256:" + hashlib.sha256(b).hexdigest()


def jdump(o: object) -> bytes:
    return json.dumps(o, separators=(",", ":")).encode()


def tar_of(files: Mapping[str, bytes | tuple[str, str] | None]) -> bytes:
    """Tar bytes of {name: bytes | None (directory) | ('link', target)}."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as t:
        for name, data in files.items():
            ti = tarfile.TarInfo(name)
            ti.mtime = EPOCH
            if data is None:
                ti.type, ti.mode = tarfile.DIRTYPE, 0o755
                t.addfile(ti)
            elif isinstance(data, tuple):
                ti.type, ti.linkname = tarfile.SYMTYPE, data[1]
                t.addfile(ti)
            else:
                ti.size, ti.mode = len(data), 0o644
                t.addfile(ti, io.BytesIO(data))
    return out.getvalue()


def gz(b: bytes) -> bytes:
    zipped = gzip.compress(b, 6, mtime=0)
    return zipped[:9] + b"\x03" + zipped[10:]  # the system's byte, which is 3 or 255 by the version of Python


def zst(b: bytes) -> bytes:
    from backports import zstd
    return zstd.compress(b, 3)


class Layout:
    """An OCI image layout being filled; to_tar() gives the archive."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.roots: list[Descriptor] = []
        self.parts: dict[str, tuple[str, list[str]]] = {}

    def put(self, data: bytes, media_type: str, **extra: Any) -> Descriptor:
        d = sha(data)
        self.blobs[d] = data
        return {"mediaType": media_type, "digest": d, "size": len(data), **extra}

    def image(self, layers: list[bytes], config: dict[str, Any] | None = None, arch: str = "amd64", os_: str = "linux",
              created: str | None = "2023-11-14T22:13:20Z", history: Any = "auto", variant: str | None = None, compress: str = "gzip",
              docker: bool = False, **top: Any) -> Descriptor:
        descs: list[Descriptor] = []
        diffs: list[str] = []
        for raw in layers:
            diffs.append(sha(raw))
            if docker:
                descs.append(self.put(gz(raw), D_LAYER))
            elif compress == "gzip":
                descs.append(self.put(gz(raw), LAYER + "+gzip"))
            elif compress == "zstd":
                descs.append(self.put(zst(raw), LAYER + "+zstd"))
            else:
                descs.append(self.put(raw, LAYER))
        cfg: dict[str, Any] = {"architecture": arch, "os": os_, "config": config or {}, "rootfs": {"type": "layers", "diff_ids": diffs}}
        if variant:
            cfg["variant"] = variant
        if created:
            cfg["created"] = created
        if history == "auto":
            cfg["history"] = [{"created": created, "created_by": f"COPY layer{i} / # buildkit", "comment": "buildkit.dockerfile.v0"}
                              for i in range(len(layers))]
        elif history is not None:
            cfg["history"] = history
        cfg.update(top)
        c = self.put(jdump(cfg), D_CONFIG if docker else CONFIG)
        man = {"schemaVersion": 2, "mediaType": D_MANIFEST if docker else MANIFEST, "config": c, "layers": descs}
        desc = self.put(jdump(man), D_MANIFEST if docker else MANIFEST)
        self.parts[desc["digest"]] = (c["digest"], [x["digest"] for x in descs])
        return desc

    def index(self, manifests: list[Descriptor], **extra: Any) -> Descriptor:
        return self.put(jdump({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, **extra}), INDEX)

    def tag(self, desc: Descriptor, name: str | None) -> None:
        ann = {}
        if name:
            ann = {"io.containerd.image.name": name}
            if ":" in name.rsplit("/", 1)[-1]:
                ann["org.opencontainers.image.ref.name"] = name.rsplit(":", 1)[1]
        self.roots.append({**desc, "annotations": ann} if ann else desc)

    def to_tar(self, layout: bool = True, docker: bool = False) -> bytes:
        """The archive; with docker=True also the manifest.json that engines without an OCI store read."""
        files: dict[str, bytes | tuple[str, str] | None] = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'} if layout else {}
        if docker:
            def blob(d: str) -> str:
                return "blobs/sha256/" + d.split(":")[1]
            files["manifest.json"] = jdump([{"Config": blob(self.parts[r["digest"]][0]), "Layers": [blob(x) for x in self.parts[r["digest"]][1]],
                                             "RepoTags": [r["annotations"]["io.containerd.image.name"].removeprefix("docker.io/").removeprefix("library/")]} for r in self.roots])
        files["index.json"] = jdump({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.roots})
        files["blobs/"] = None
        files["blobs/sha256/"] = None
        for d, b in self.blobs.items():
            files["blobs/sha256/" + d.split(":")[1]] = b
        return tar_of(files)


def docker_archive(entries: Iterable[tuple[list[bytes], dict[str, Any], list[str] | None]], broken: str | None = None) -> bytes:
    """Classic `docker save` archive: manifest.json, <cfg>.json, <n>/layer.tar."""
    files: dict[str, bytes | tuple[str, str] | None] = {}
    manifest: list[dict[str, Any]] = []
    repos: dict[str, dict[str, str]] = {}
    for layers, cfg, tags in entries:
        cfg = {**cfg, "rootfs": {"type": "layers", "diff_ids": [sha(x) for x in layers]}}
        if broken == "diffid":
            cfg["rootfs"]["diff_ids"][0] = sha(b"not this layer")
        raw = jdump(cfg)
        name = sha(raw).split(":")[1] + ".json"
        paths = []
        for x in layers:
            p = sha(x).split(":")[1]
            files.setdefault(p + "/", None)
            files.setdefault(p + "/VERSION", b"1.0")
            files.setdefault(p + "/layer.tar", x)
            paths.append(p + "/layer.tar")
        if broken != "noconfig":
            files[name] = raw
        manifest.append({"Config": name, "RepoTags": tags or None, "Layers": paths})
        for t in tags or []:
            r, v = t.rsplit(":", 1)
            repos.setdefault(r, {})[v] = paths[-1].split("/")[0]
    if broken == "nolayer":
        files = {k: v for k, v in files.items() if not k.endswith("layer.tar")}
    if broken == "badmanifest":
        files["manifest.json"] = b"{not json"
    elif broken != "nomanifest":
        files["manifest.json"] = jdump(manifest)
    if repos:
        files["repositories"] = jdump(repos)
    if broken == "traversal":
        files["../../../../oracle-escaped"] = b"escaped"
    return tar_of(files)


BASE = tar_of({"bin/": None, "bin/sh": b"#!base\n" * 400, "etc/": None, "etc/os-release": b'NAME="Oracle"\n'})
APP = tar_of({"app/": None, "app/main": b"print('hi')\n" * 300})
EXTRA = tar_of({"data/": None, "data/blob": bytes(range(256)) * 200, "data/ln": ("link", "blob")})
WHITEOUT = tar_of({"app/.wh.main": b"", "app/other": b"other\n"})
FULL = {
    "User": "1000:1000", "ExposedPorts": {"80/tcp": {}, "443/tcp": {}}, "Env": ["PATH=/usr/bin:/bin", "A=b=c"],
    "Entrypoint": ["/bin/sh", "-c"], "Cmd": ["echo hi"], "Volumes": {"/data": {}}, "WorkingDir": "/app",
    "Labels": {"maintainer": "oracle", "stage": "prod", "empty": ""}, "StopSignal": "SIGTERM",
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 30000000000, "Retries": 3}, "OnBuild": ["RUN echo onbuild"],
    "Shell": ["/bin/bash", "-c"], "ArgsEscaped": True,
}


def statement(predicate_type: str, subject: str, predicate: object) -> bytes:
    return jdump({"_type": "https://in-toto.io/Statement/v0.1", "predicateType": predicate_type,
                  "subject": [{"name": "pkg:docker/multi@latest", "digest": {"sha256": subject.split(":")[1]}}], "predicate": predicate})


def build() -> dict[str, bytes]:
    out: dict[str, bytes] = {}
    L = Layout()
    L.tag(L.image([BASE, APP], FULL, author="Oracle <o@example.com>"), "docker.io/library/full:latest")
    out["full.tar"] = L.to_tar()

    L = Layout()
    plain = L.image([BASE], {"Cmd": ["sh"]}, created="2023-01-01T00:00:00Z")
    L.tag(plain, "docker.io/library/base:1")
    L.tag(plain, "docker.io/library/base:latest")
    L.tag(L.image([BASE, EXTRA], {"Labels": {"stage": "dev"}}, created="2024-02-02T02:02:02.123456789Z"), "docker.io/team/child:v2")
    L.tag(L.image([BASE, EXTRA, WHITEOUT], {"Labels": {"stage": "test"}}, created="2024-03-03T03:03:03Z"), "localhost:5000/team/grand:v3")
    out["family.tar"] = L.to_tar()

    L = Layout()
    plats = []
    for arch, variant in (("amd64", None), ("arm64", "v8"), ("arm", "v7")):
        m = L.image([BASE, tar_of({"arch": (arch + (variant or "")).encode()})], {"Cmd": ["/bin/sh"], "Env": ["ARCH=" + arch]}, arch=arch, variant=variant)
        p = {"architecture": arch, "os": "linux", **({"variant": variant} if variant else {})}
        plats.append({**m, "platform": p})
    atts = []
    for m in plats[:2]:
        st = [L.put(statement("https://slsa.dev/provenance/v0.2", m["digest"], {"builder": {"id": "oracle"}}), "application/vnd.in-toto+json",
                    annotations={"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"}),
              L.put(statement("https://spdx.dev/Document", m["digest"], {"spdxVersion": "SPDX-2.3"}), "application/vnd.in-toto+json",
                    annotations={"in-toto.io/predicate-type": "https://spdx.dev/Document"})]
        c = L.put(jdump({"architecture": "unknown", "os": "unknown", "config": {}, "rootfs": {"type": "layers", "diff_ids": [x["digest"] for x in st]}}), CONFIG)
        am = L.put(jdump({"schemaVersion": 2, "mediaType": MANIFEST, "config": c, "layers": st}), MANIFEST)
        atts.append({**am, "platform": {"architecture": "unknown", "os": "unknown"},
                     "annotations": {"vnd.docker.reference.digest": m["digest"], "vnd.docker.reference.type": "attestation-manifest"}})
    L.tag(L.index(plats + atts), "docker.io/library/multi:latest")
    out["multi.tar"] = L.to_tar()

    L = Layout()
    L.tag(L.image([BASE, EXTRA], {"Cmd": ["sh"]}, compress="zstd"), "docker.io/library/zst:latest")
    L.tag(L.image([BASE, APP, EXTRA], {"Cmd": ["sh"]}, compress="none"), "docker.io/library/rawlayers:latest")
    L.tag(L.image([BASE, APP], {"Cmd": ["sh"]}, docker=True), "docker.io/library/dockertypes:latest")
    out["encodings.tar"] = L.to_tar()

    windows: dict[str, Any] = {"os.version": "10.0.1", "os.features": ["x"]}
    L = Layout()
    L.tag(L.image([BASE, EXTRA], {}, history=[
        {"created": "2023-01-01T00:00:00Z", "created_by": "/bin/sh -c #(nop) ADD file:abc in / "},
        {"created": "2023-01-01T00:00:01Z", "created_by": "/bin/sh -c #(nop)  CMD [\"sh\"]", "empty_layer": True},
        {"created": "2023-01-02T00:00:00Z", "created_by": "RUN |1 X=1 /bin/sh -c make # buildkit", "comment": "buildkit.dockerfile.v0", "author": "me"},
        {"created": "2023-01-03T00:00:00Z", "created_by": "ENV Z=1", "empty_layer": True, "comment": "last"},
    ]), "docker.io/library/histo:latest")
    L.tag(L.image([BASE], {}, created=None, history=None), "docker.io/library/nohist:latest")
    L.tag(L.image([APP], {}, created="1970-01-01T00:00:00Z", docker_version="20.10.1", container="abc", parent="sha256:" + "0" * 64,
                  container_config={"Cmd": ["/bin/sh", "-c", "#(nop) x"]}, comment="top comment", **windows),
          "docker.io/library/oldstyle:latest")
    out["histories.tar"] = L.to_tar()

    L = Layout()
    L.tag(L.image([APP, EXTRA], {"Cmd": ["x"]}), None)
    out["untagged.tar"] = L.to_tar()

    cfg = {"architecture": "amd64", "os": "linux", "created": "2022-05-05T05:05:05Z", "config": {"Cmd": ["classic"]}, "docker_version": "19.03.1",
           "history": [{"created": "2022-05-05T05:05:05Z", "created_by": "/bin/sh -c #(nop) ADD x"}]}
    out["classic.tar"] = docker_archive([([BASE], cfg, ["classic:1", "classic:two"]), ([APP], {**cfg, "author": "b"}, ["other/classic:b"])])
    out["classic-untagged.tar"] = docker_archive([([EXTRA], {**cfg, "author": "untagged"}, None)])
    out["classic.tar.gz"] = gz(out["classic.tar"])
    import bz2
    import lzma
    out["classic.tar.xz"] = lzma.compress(out["classic.tar"])
    out["classic.tar.bz2"] = bz2.compress(out["classic.tar"])
    out["classic.tar.zst"] = zst(out["classic.tar"])
    for b in ("diffid", "noconfig", "nolayer", "badmanifest", "nomanifest", "traversal"):
        out[f"broken-{b}.tar"] = docker_archive([([BASE], {**cfg, "author": b}, [f"broken/{b}:1"])], broken=b)
    out["broken-garbage.tar"] = b"this is not a tar file" * 100
    out["broken-empty.tar"] = b""
    out["broken-truncated.tar"] = out["full.tar"][: len(out["full.tar"]) // 2]
    L = Layout()
    L.tag(L.image([BASE], {"Cmd": ["x"]}), "docker.io/library/lying:latest")
    victim = next(d for d, b in L.blobs.items() if b[:2] == b"\x1f\x8b")
    L.blobs[victim] = gz(EXTRA)
    out["broken-lyingblob.tar"] = L.to_tar()
    L = Layout()
    L.tag(L.image([BASE], {"Cmd": ["x"]}), "docker.io/library/missinglayer:latest")
    L.blobs = {d: b for d, b in L.blobs.items() if b[:2] != b"\x1f\x8b"}
    out["broken-missinglayer.tar"] = L.to_tar()
    L = Layout()
    L.tag(L.image([BASE], {"Cmd": ["x"]}), "docker.io/Library/BAD NAME:latest")
    out["broken-name.tar"] = L.to_tar()
    out["rootfs.tar"] = BASE
    out["rootfs.tar.gz"] = gz(BASE)
    return out

