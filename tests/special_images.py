"""The images that moby's own tests of its image store use, built here: what is in them, not how moby writes it.

Their manifests have no `schemaVersion` but 0, as a Go program that leaves the field out writes them.

Source: moby internal/testutil/specialimage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stowage.services.oci import mediatypes
from tests.builders import Json, Layout, digest_of, make_tar, on_platform, to_json

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FILES = {"foo": b"1", "bar": b"2", "hello": b"world"}

EMPTY_FS_ID = "sha256:e43ca824363c5c56016f6ede3a9035afe0e9bd43333215e0b0bde6193969725d"
"""The ID that moby's tests expect of it."""


def empty_fs() -> bytes:
    """A docker-archive of 2013: `emptyfs`, whose one layer is a tar of nothing but zeros, and whose config names no operating system."""
    version1 = "511136ea3c5a64f264b78b5433614aec563103b4d4702f3ba7d4d2698e22c158"
    created, comment = "2013-06-13T14:03:50.821769-07:00", "Imported from -"
    nobody: dict[str, object] = {
        "Hostname": "",
        "Domainname": "",
        "User": "",
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "Tty": False,
    }
    empty: dict[str, object] = {
        "OpenStdin": False,
        "StdinOnce": False,
        "Env": None,
        "Cmd": None,
        "Image": "",
        "Volumes": None,
        "WorkingDir": "",
        "Entrypoint": None,
        "OnBuild": None,
        "Labels": None,
    }
    layer = bytes(10240)
    config = to_json(
        {
            "architecture": "x86_64",
            "comment": comment,
            "container_config": nobody | empty,
            "created": created,
            "docker_version": "0.4.0",
            "history": [{"created": created, "comment": comment}],
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]},
        }
    )
    name = digest_of(config).removeprefix("sha256:") + ".json"
    manifest = [{"Config": name, "RepoTags": ["emptyfs:latest"], "Layers": [f"{version1}/layer.tar"]}]
    return make_tar(
        {
            "VERSION": b"1.0",
            "repositories": to_json({"emptyfs": {"latest": version1}}),
            name: config,
            f"{version1}/json": to_json({"id": version1, "comment": comment, "created": created}),
            f"{version1}/layer.tar": layer,
            "manifest.json": to_json(manifest),
        }
    )


def dangling() -> bytes:
    """An image without layers and name. There is an index.json, but without oci-layout it is manifest.json that counts."""
    layout = Layout()
    config = {
        "architecture": "amd64",
        "config": {"Env": [PATH], "WorkingDir": "/", "Labels": {"org.mobyproject.test.specialimage": "1"}, "OnBuild": None},
        "created": None,
        "history": [{"created_by": "LABEL org.mobyproject.test.specialimage=1", "comment": "buildkit.dockerfile.v0", "empty_layer": True}],
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": None},
    }
    described = layout.add_json(config, mediatypes.DOCKER_CONFIG)
    layout.tag(on_platform(layout.manifest(described, [], media_type=mediatypes.DOCKER_MANIFEST), "linux/amd64"))
    members = layout.members()
    del members["oci-layout"]
    return make_tar(
        {
            **members,
            "manifest.json": to_json([{"Config": "blobs/" + described["digest"].replace(":", "/"), "RepoTags": None, "Layers": None}]),
        }
    )


def multi_layer(name: str = "multilayer:latest", files: Mapping[str, bytes] = FILES) -> bytes:
    """One image with a plain layer for each file."""
    layout = Layout()
    layout.tag(image(layout, files), canonical(name))
    return layout.to_tar()


def random_platform(platform: str, layers: int) -> bytes:
    """An image for any platform with some layers, perhaps none."""
    layout = Layout()
    files = {f"layer-{number}": str(number).encode() for number in range(layers)}
    layout.tag(image(layout, files, platform=platform), canonical("random:latest"))
    return layout.to_tar()


def labeled(name: str, labels: Mapping[str, str] | None) -> bytes:
    """An image with labels and no layers."""
    layout = Layout()
    layout.tag(image(layout, {}, Labels=labels), canonical(name))
    return layout.to_tar()


def multi_platform(name: str, platforms: Iterable[str], missing: Iterable[str] = ()) -> tuple[bytes, list[Json]]:
    """An index with an image for each platform, and with entries for missing ones that are nowhere; returns what it lists, too."""
    layout = Layout()
    listed = [on_platform(image(layout, {"bash": f"layer-{each}".encode()}, platform=each), each) for each in platforms]
    listed += [on_platform(absent(each), each) for each in missing]
    layout.tag(layout.index(listed), canonical(name))
    return layout.to_tar(), listed


def empty_index() -> bytes:
    """An index that lists nothing."""
    return multi_platform("emptyindex:latest", [])[0]


def config_target() -> bytes:
    """An entry of index.json that is an image config, not a manifest."""
    layout = Layout()
    config = {"architecture": "amd64", "os": "linux", "config": {"Env": ["FOO=BAR"]}, "rootfs": {"type": "", "diff_ids": None}}
    layout.manifests.append(named(layout.add_json(config, mediatypes.OCI_CONFIG), "config:latest"))
    return layout.to_tar()


def text_plain() -> bytes:
    """A manifest that says neither its version nor its type, with one blob of text and an empty config: no image of a container."""
    layout = Layout()
    text = layout.add(b"{}", "text/plain")
    document = {"schemaVersion": 0, "config": {**text, "mediaType": "application/vnd.oci.empty.v1+json"}, "layers": [text]}
    layout.manifests.append(named(layout.add_json(document, mediatypes.OCI_MANIFEST), "tianon/test:text-plain"))
    return layout.to_tar()


def image(layout: Layout, files: Mapping[str, bytes], *, platform: str = "linux/amd64", **config: object) -> Json:
    """An image as moby's tests write it: plain layers of one file each, schemaVersion 0, no history and no time."""
    layers = [layout.add(make_tar({path: content}), mediatypes.OCI_LAYER) for path, content in files.items()]
    document = {
        **on_platform({}, platform)["platform"],
        "config": config or {"Env": [PATH]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers] or None},
    }
    return layout.manifest(layout.add_json(document, mediatypes.OCI_CONFIG), layers, schemaVersion=0)


def absent(platform: str) -> Json:
    """The descriptor of a manifest that is nowhere."""
    return {"mediaType": mediatypes.OCI_MANIFEST, "digest": digest_of(platform.encode()), "size": 128}


def named(descriptor: Json, name: str) -> Json:
    return {**descriptor, "annotations": {"io.containerd.image.name": canonical(name)}}


def canonical(name: str) -> str:
    return f"docker.io/{name}" if "/" in name else f"docker.io/library/{name}"
