"""A store of real images to look at: Debian, and what a team might have built on it, pulled from a registry on loopback.

Each base image is a root file system that Debian's `mmdebstrap` makes, and its packages; each program on it is made up.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

from benchmarks.debian import bootstrap, write_layer
from benchmarks.engines import Engine
from benchmarks.registry import registry, skopeo
from benchmarks.workload import file_system
from stowage.services.oci import mediatypes
from tests.builders import Json, Layout, compress, digest_of, make_config, on_platform

ROOTS = {
    "debian": "ca-certificates",
    "python": "ca-certificates,python3,python3-flask,python3-requests",
    "numpy": "ca-certificates,python3,python3-flask,python3-requests,python3-numpy",
    "nginx": "ca-certificates,nginx-light",
    "java": "ca-certificates,openjdk-21-jre-headless",
}
"""The packages of each root file system."""
BELOW = {"python": ("debian",), "numpy": ("debian", "python"), "nginx": ("debian",), "java": ("debian",)}
"""The layers that are below the one with the packages of a root."""
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Recipe:
    """An image: its name, the layer of packages that it begins with, the sizes in MiB of what is on it, and its config."""

    name: str
    root: str
    created: str
    programs: tuple[int, ...] = ()
    config: Json = field(default_factory=dict)
    attested: bool = False


RECIPES = (
    Recipe("debian:trixie", "debian", "2026-10-20", config={"Cmd": ["bash"]}),
    Recipe("team/python:3.13", "python", "2026-10-21", config={"Cmd": ["python3"]}),
    Recipe("team/nginx:1.26", "nginx", "2026-10-21", config={"Cmd": ["nginx", "-g", "daemon off;"], "ExposedPorts": {"80/tcp": {}}}),
    Recipe("team/java:21", "java", "2026-09-02", config={"Entrypoint": ["java"]}),
    Recipe("team/data:2026.9", "numpy", "2026-09-14", (24,), {"Cmd": ["python3", "-m", "data"], "User": "data"}),
    *(
        Recipe(
            f"team/api:1.{minor}",
            "python",
            f"2026-11-{6 + 5 * minor:02}",
            (8, 3 + 9 * minor),
            {
                "Entrypoint": ["gunicorn"],
                "Cmd": ["--bind", "0.0.0.0:8000", "api:app"],
                "ExposedPorts": {"8000/tcp": {}},
                "User": "api",
                "WorkingDir": "/srv/api",
                "Volumes": {"/srv/api/media": {}},
            },
            attested=minor == 3,
        )
        for minor in range(4)
    ),
    Recipe("team/site:2026-11", "nginx", "2026-11-24", (46,), {"Cmd": ["nginx", "-g", "daemon off;"]}),
    Recipe("team/jobs:4.0", "java", "2026-08-30", (61,), {"Cmd": ["-jar", "/srv/jobs.jar"]}),
    Recipe("team/jobs:4.1", "java", "2026-11-03", (64,), {"Cmd": ["-jar", "/srv/jobs.jar"]}),
)


class Gallery:
    """Makes the images in a folder; layers are made once."""

    def __init__(self, folder: Path, layout: Path) -> None:
        self._folder, self._layouts = folder, layout
        self._layout = Layout()
        self._layers: dict[object, tuple[Json, str]] = {}
        self._members: dict[tuple[str, ...], dict[str, tuple[object, ...]]] = {(): {}}

    def write(self) -> Path:
        """The folder of an OCI layout with all images."""
        for recipe in RECIPES:
            self._add(recipe)
        for name, content in self._layout.members().items():
            path = self._layouts / name
            if isinstance(content, bytes):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        return self._layouts

    def _add(self, recipe: Recipe) -> None:
        made = list(self._made(recipe))
        config = {"Env": [PATH], "Labels": _labels(recipe), **recipe.config}
        stamp = f"{recipe.created}T08:30:00Z"
        history = [{"created": stamp, "created_by": step, **({"empty_layer": True} if layer is None else {})} for step, layer in made]
        layers = [layer for _, layer in made if layer is not None]
        document = make_config([diff_id for _, diff_id in layers], config=config, created=stamp, history=history)
        manifest = self._layout.manifest(self._layout.add_json(document, mediatypes.OCI_CONFIG), [descriptor for descriptor, _ in layers])
        if recipe.attested:
            image = on_platform(manifest, "linux/amd64")
            manifest = self._layout.index([image, self._layout.attestation(image)])
        self._layout.manifests.append({**manifest, "annotations": {"org.opencontainers.image.ref.name": recipe.name}})

    def _made(self, recipe: Recipe) -> Iterator[tuple[str, tuple[Json, str] | None]]:
        """Each step, and its layer if it has one."""
        below: tuple[str, ...] = ()
        for root in (*BELOW.get(recipe.root, ()), recipe.root):
            step = f"RUN /bin/sh -c apt-get install -y {ROOTS[root].replace(',', ' ')} # buildkit" if below else "ADD trixie / # buildkit"
            yield step, self._root_layer(root, below)
            below += (root,)
        for number, size in enumerate(recipe.programs):
            repository = recipe.name.partition(":")[0]
            folder = "srv/vendor" if len(recipe.programs) > 1 and not number else f"srv/{repository.rpartition('/')[2]}"
            yield f"COPY {folder.removeprefix('srv/')} /{folder} # buildkit", self._program_layer(repository, folder, size)
        for key, value in recipe.config.items():
            yield f"{key.upper()} {json.dumps(value)}", None

    def _root_layer(self, root: str, below: tuple[str, ...]) -> tuple[Json, str]:
        if root not in self._layers:
            whole, layer = self._folder / f"{root}.tar", self._folder / f"{root}.layer.tar"
            if not whole.exists():
                bootstrap(whole, ROOTS[root])
            members = dict(self._members[below])
            write_layer(layer, whole, members)
            self._members[(*below, root)] = members
            self._layers[root] = self._store(layer.read_bytes())
            layer.unlink()
        return self._layers[root]

    def _program_layer(self, repository: str, folder: str, mebibytes: int) -> tuple[Json, str]:
        """A layer with a program. A larger one of the same folder has the files of a smaller one too."""
        key = repository, folder, mebibytes
        if key not in self._layers:
            self._layers[key] = self._store(file_system(mebibytes, crc32(f"{repository} {folder}".encode()), folder))
        return self._layers[key]

    def _store(self, raw: bytes) -> tuple[Json, str]:
        return self._layout.add(compress(raw, "gzip"), mediatypes.OCI_LAYER_GZIP), digest_of(raw)


def fill(engine: Engine, roots: Path) -> None:
    """Let the engine pull the images from a registry, and give them their names; one of them loses its name to another.

    The root file systems are in a folder, or made there.
    """
    roots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=roots) as temporary, registry() as address:
        layout = Gallery(roots, Path(temporary)).write()
        for recipe in RECIPES:
            skopeo("copy", "--all", "--dest-tls-verify=false", f"oci:{layout}:{recipe.name}", f"docker://{address}/{recipe.name}")
            _pull(engine, address, recipe.name)
    engine.request("POST", "/images/team/jobs:4.0/tag?repo=team/jobs&tag=4.1")


def _pull(engine: Engine, address: str, name: str) -> None:
    repository, _, tag = name.partition(":")
    engine.request("POST", f"/images/create?fromImage={address}/{repository}&tag={tag}")
    engine.request("POST", f"/images/{address}/{name}/tag?repo={repository}&tag={tag}")
    engine.request("DELETE", f"/images/{address}/{name}")


def _labels(recipe: Recipe) -> dict[str, str]:
    repository, _, tag = recipe.name.partition(":")
    return {
        "org.opencontainers.image.title": repository,
        "org.opencontainers.image.version": tag,
        "org.opencontainers.image.vendor": "team",
    }
