"""Damage of what an operation does not bring: other platforms of an index, and what refers to an image.

What is acknowledged can be saved.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import Damaged, InvalidContent, NotFound
from stowage.services.images.tag import tag_image
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform
from stowage.services.oci.reference import Reference
from tests.builders import Json, Layout, load_image, make_layer, on_platform, put_image
from tests.damage import Spoil, blob_file, damages, every_damage, lose, verify
from tests.fake_registry import FakeRegistry, Fault
from tests.services.images.archives import AMD64, ARM64, names, save
from tests.services.images.pulls import pull
from tests.services.images.pushes import push

NAME = "docker.io/team/multi:1"
every_part = pytest.mark.parametrize("part", ["manifest", "config", "layer"])


@dataclass(frozen=True)
class Multi:
    """An index for linux/amd64 and linux/arm64/v8, each of a layer of its own."""

    layout: Layout
    index: Json
    amd64: Json
    arm64: Json

    def part(self, part: str) -> Digest:
        """A blob of linux/arm64/v8 alone."""
        document = json.loads(self.layout.blobs[self.arm64["digest"]])
        parts = {"manifest": self.arm64, "config": document["config"], "layer": document["layers"][0]}
        return Digest.parse(parts[part]["digest"])

    def without(self, *parts: str) -> bytes:
        """The archive without these parts of linux/arm64/v8."""
        lost = {str(self.part(part)) for part in parts}
        blobs = {digest: blob for digest, blob in self.layout.blobs.items() if digest not in lost}
        return Layout(blobs, self.layout.manifests).to_tar()


@pytest.fixture
def multi() -> Multi:
    layout = Layout()
    amd64, arm64 = [
        on_platform(layout.image([make_layer(platform.replace("/", "-"))], platform=platform), platform)
        for platform in ("linux/amd64", "linux/arm64/v8")
    ]
    index = layout.index([amd64, arm64])
    layout.tag(index, NAME)
    return Multi(layout, index, amd64, arm64)


class TestLoad:
    """An archive with one platform of an index of which the store has another."""

    @every_damage
    @every_part
    def test_that_leaves_a_damaged_platform_is_refused(self, engine: Engine, multi: Multi, part: str, spoil: Spoil) -> None:
        load_image(engine, multi.layout.to_tar())
        before = names(engine)
        spoil(blob_file(engine, multi.part(part)))
        with pytest.raises(InvalidContent) as refused:
            load_image(engine, multi.without("manifest", "config", "layer"))
        assert str(refused.value) == (
            f"missing blob {multi.part(part)} of platform linux/arm64/v8: the store's copy is damaged and the archive has none; "
            "pull that platform, load an archive that has it, or delete the image and load it again"
        )
        assert names(engine) == before
        load_image(engine, multi.layout.to_tar())
        save(engine, NAME)
        assert verify(engine) == []

    @every_damage
    def test_of_a_manifest_without_its_damaged_content_is_refused(self, engine: Engine, multi: Multi, spoil: Spoil) -> None:
        load_image(engine, multi.layout.to_tar())
        for part in ("config", "layer"):
            spoil(blob_file(engine, multi.part(part)))
        with pytest.raises(InvalidContent, match="missing blob sha256:.* of platform linux/arm64/v8: the store's copy is damaged"):
            load_image(engine, multi.without("config", "layer"))

    def test_under_another_name_is_refused_too(self, engine: Engine, multi: Multi) -> None:
        """The platform is another image of the store."""
        put_image(engine, "arm", multi.layout, multi.arm64)
        lose(blob_file(engine, multi.part("layer")))
        with pytest.raises(InvalidContent, match=f"missing blob {multi.part('layer')} of platform linux/arm64"):
            load_image(engine, multi.without("manifest", "config", "layer"))
        assert names(engine).keys() == {"docker.io/library/arm:latest"}

    def test_of_a_nested_index_is_refused_too(self, engine: Engine, multi: Multi) -> None:
        outer = multi.layout.index([multi.index])
        multi.layout.manifests.clear()
        multi.layout.tag(outer, NAME)
        load_image(engine, multi.layout.to_tar())
        lose(blob_file(engine, multi.part("layer")))
        with pytest.raises(InvalidContent, match=f"missing blob {multi.part('layer')}"):
            load_image(engine, multi.without("manifest", "config", "layer"))

    def test_of_one_platform_of_a_whole_archive_repairs_the_other(self, engine: Engine, multi: Multi) -> None:
        load_image(engine, multi.layout.to_tar())
        before = save(engine, NAME)
        lose(blob_file(engine, multi.part("layer")))
        load_image(engine, multi.layout.to_tar(), platforms=[AMD64])
        assert save(engine, NAME) == before

    def test_of_one_platform_that_leaves_the_other_damaged_is_refused(self, engine: Engine, multi: Multi) -> None:
        load_image(engine, multi.layout.to_tar())
        lose(blob_file(engine, multi.part("layer")))
        with pytest.raises(InvalidContent, match=f"missing blob {multi.part('layer')} of platform linux/arm64/v8"):
            load_image(engine, multi.without("manifest", "config", "layer"), platforms=[AMD64])

    def test_that_leaves_a_damaged_referrer_is_refused(self, engine: Engine) -> None:
        layout = Layout()
        image = layout.image([make_layer("signed")])
        layout.tag(image, "docker.io/team/signed:1")
        signature = layout.add(b"signed", "application/vnd.example.signature")
        referrer = layout.manifest(layout.add(b"{}", "application/vnd.oci.empty.v1+json"), [signature])
        layout.manifests.append({**referrer, "annotations": {"io.containerd.manifest.subject": image["digest"]}})
        load_image(engine, layout.to_tar())
        lose(blob_file(engine, Digest.parse(signature["digest"])))
        layout.manifests.pop()
        layout.without(referrer)
        sentence = f"missing blob {signature['digest']}: the store's copy is damaged and the archive has none; load an archive that has it"
        with pytest.raises(InvalidContent, match=sentence):
            load_image(engine, layout.to_tar())

    def test_of_a_platform_that_the_store_does_not_have_needs_no_other(self, engine: Engine, multi: Multi) -> None:
        archive = multi.without("manifest", "config", "layer")
        load_image(engine, archive)
        before = save(engine, NAME)
        load_image(engine, archive)
        assert save(engine, NAME) == before


class TestPull:
    """A pull for one platform of an index of which the store has another."""

    @pytest.fixture
    def name(self, engine: Engine, registry: FakeRegistry, multi: Multi) -> str:
        name = registry.publish(multi.layout, multi.index)
        pull(engine, name, platform=AMD64)
        pull(engine, name, platform=ARM64)
        registry.requests.clear()
        return name

    @every_damage
    @every_part
    def test_repairs_the_other(self, engine: Engine, registry: FakeRegistry, multi: Multi, name: str, part: str, spoil: Spoil) -> None:
        before = save(engine, f"{name}:1")
        spoil(blob_file(engine, multi.part(part)))
        lines = pull(engine, name, platform=AMD64)
        assert lines[-1].status == f"Status: Image is up to date for {name}:1"
        assert registry.asked("GET") == [f"GET {multi.part(part)}"]
        shown = [line.status for line in lines if line.id == multi.part(part).short]
        assert shown == (["Pulling fs layer", "Download complete", "Pull complete"] if part == "layer" else [])
        assert save(engine, f"{name}:1") == before
        assert verify(engine) == []
        assert damages(engine) == {}

    def test_repairs_what_was_marked(self, engine: Engine, multi: Multi, name: str) -> None:
        lose(blob_file(engine, multi.part("layer")))
        verify(engine)
        with pytest.raises(Damaged, match="load or pull the image again to repair it"):
            save(engine, f"{name}:1")
        with pytest.raises(Damaged, match="load or pull the image again to repair it"):
            push(engine, f"{name}:1")
        pull(engine, name, platform=AMD64)
        save(engine, f"{name}:1")

    def test_repairs_the_other_under_a_new_name(self, engine: Engine, registry: FakeRegistry, multi: Multi, name: str) -> None:
        registry.publish(multi.layout, multi.index, tag="2")
        lose(blob_file(engine, multi.part("layer")))
        pull(engine, name, "2", platform=AMD64)
        assert verify(engine) == []
        assert str(multi.part("layer").hex) in save(engine, f"{name}:2").decode("latin-1")

    def test_repairs_a_platform_that_belongs_to_another_image(self, engine: Engine, registry: FakeRegistry, multi: Multi) -> None:
        put_image(engine, "arm", multi.layout, multi.arm64)
        lose(blob_file(engine, multi.part("layer")))
        name = registry.publish(multi.layout, multi.index)
        pull(engine, name, platform=AMD64)
        assert verify(engine) == []
        assert str(multi.part("layer").hex) in save(engine, f"{name}:1").decode("latin-1")

    def test_leaves_what_is_sound(self, engine: Engine, registry: FakeRegistry, name: str) -> None:
        lines = pull(engine, name, platform=AMD64)
        assert registry.asked() == ["HEAD 1"]
        assert [line.status.partition(":")[0] for line in lines] == ["Pulling from team/app", "Digest", "Status"]

    @every_part
    def test_says_what_to_do_if_the_registry_no_longer_has_it(
        self, engine: Engine, registry: FakeRegistry, multi: Multi, name: str, part: str
    ) -> None:
        lose(blob_file(engine, multi.part(part)))
        registry.faults[str(multi.part(part))] = Fault.ABSENT
        with pytest.raises(NotFound, match="if the registry no longer has it, delete the image and pull it again"):
            pull(engine, name, platform=AMD64)
        tag_image(engine, f"{name}:1", Reference.parse("kept:1"))


def test_a_platform_that_was_never_here_is_not_fetched(engine: Engine, registry: FakeRegistry, multi: Multi) -> None:
    name = registry.publish(multi.layout, multi.index)
    pull(engine, name, platform=Platform("linux", "amd64"))
    pull(engine, name, platform=Platform("linux", "amd64"))
    assert registry.asked("GET").count(f"GET {multi.part('layer')}") == 0
    save(engine, f"{name}:1")
