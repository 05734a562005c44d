"""What the service says of its host and settings."""

from dataclasses import replace

from stowage.services.engine import Engine, ShownSettings
from stowage.services.system.info import Index, read_info


def test_settings_of_registries_are_shown(engine: Engine) -> None:
    shown = ShownSettings(
        root="/srv/x", registry_mirrors=("https://mirror.example/",), insecure_registries=("127.0.0.0/8", "old.example:5000")
    )
    info = read_info(replace(engine, shown=shown))
    assert info.root == "/srv/x"
    assert info.registries.insecure_networks == ("127.0.0.0/8",)
    assert info.registries.mirrors == ("https://mirror.example/",)
    assert info.registries.indexes["docker.io"] == Index("docker.io", ("https://mirror.example/",), secure=True, official=True)
    assert info.registries.indexes["old.example:5000"] == Index("old.example:5000", (), secure=False, official=False)


def test_the_id_stays_and_belongs_to_the_root(engine: Engine) -> None:
    other = replace(engine, shown=ShownSettings(root="/elsewhere"))
    assert read_info(engine).id == read_info(engine).id != read_info(other).id


def test_the_driver_tells_the_store_and_what_an_id_is_the_digest_of(engine: Engine) -> None:
    shown = ShownSettings(store="filesystem", database="sqlite")
    assert read_info(replace(engine, shown=shown)).driver_status == (
        ("driver-type", "io.containerd.snapshotter.v1"),
        ("Store", "filesystem"),
        ("Database", "sqlite"),
    )
