"""The files of an image: what is listed, by directory or flat, of the whole or of a layer."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import Damaged, Forbidden, ImageNotFound, InvalidParameter, NotFound, Unsupported
from stowage.services.images.file_table import Change
from stowage.services.images.file_views import Listing
from stowage.services.images.files import ImageFiles, View, join_problems, list_files
from stowage.services.images.layered_files import Sum
from stowage.services.oci import mediatypes
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform
from tests.builders import HardLink, Json, Layout, Link, compress, digest_of, layers_of, make_layer, make_tar, put_image
from tests.damage import blob_file, damages, flip
from tests.services.costs import Costs

BASE = {"etc/": None, "etc/passwd": b"root" * 5, "usr/lib/big": b"b" * 5000, "usr/lib/small": b"s" * 10, "usr/bin/sh": Link("dash")}
UPPER = {"etc/passwd": b"root" * 10, "usr/lib/.wh.big": b"", "opt/app": b"a" * 300}


def put_layers(engine: Engine, name: str, *layers: Mapping[str, bytes | Link | None], **image: Any) -> tuple[Layout, Json]:
    layout = Layout()
    descriptor = layout.image(list(map(make_tar, layers)), **image)
    put_image(engine, name, layout, descriptor)
    return layout, descriptor


@pytest.fixture(params=["gzip", "zstd"])
def app(engine: Engine, request: pytest.FixtureRequest) -> tuple[Layout, Json]:
    return put_layers(engine, "app", BASE, UPPER, compression=request.param)


def items(files: ImageFiles) -> list[tuple[str, int, int]]:
    return [(item.path, item.bytes, item.files) for item in files.items]


def limited(engine: Engine, most: int) -> Engine:
    return replace(engine, limits=replace(engine.limits, listed_entries=most))


@pytest.mark.usefixtures("app")
def test_a_directory_is_listed_with_sums_the_largest_first(engine: Engine) -> None:
    files = list_files(engine, "app")
    assert items(files) == [("opt", 300, 1), ("etc", 40, 1), ("usr", 10, 2)]
    assert [item.layer for item in files.items] == [1, 0, 0]
    assert (files.sum.files, files.sum.bytes, files.wasted.files, files.wasted.bytes) == (4, 350, 2, 5020)
    assert items(list_files(engine, "app", listing=Listing("/usr/"))) == [("usr/lib", 10, 1), ("usr/bin", 0, 1)]
    assert (files.total, files.layer, files.problem) == (3, None, "")


@pytest.mark.usefixtures("app")
def test_all_files_flat_searched_sorted_and_paged(engine: Engine) -> None:
    def listed(**listing: Any) -> list[str]:
        return [item.path for item in list_files(engine, "app", view=View.FLAT, listing=Listing(**listing)).items]

    assert listed() == ["opt/app", "etc/passwd", "usr/lib/small", "usr/bin/sh"]
    assert listed(sort="name") == ["etc/passwd", "opt/app", "usr/bin/sh", "usr/lib/small"]
    assert listed(sort="-name") == ["usr/lib/small", "usr/bin/sh", "opt/app", "etc/passwd"]
    assert listed(search="LIB/") == ["usr/lib/small"]
    assert listed(path="usr", sort="size") == ["usr/bin/sh", "usr/lib/small"]
    assert listed(offset=1, limit=2) == ["etc/passwd", "usr/lib/small"]
    assert listed(offset=10) == []
    assert items(list_files(engine, "app", listing=Listing(search="s", limit=1)))[0][0] == "etc/passwd"
    assert list_files(engine, "app", listing=Listing(search="s", limit=1)).total == 3


@pytest.mark.usefixtures("app")
def test_an_item_has_what_its_layer_says(engine: Engine) -> None:
    (shell,) = list_files(engine, "app", listing=Listing("usr/bin")).items
    assert (shell.kind, shell.link, shell.mode, shell.uid, shell.layer) == ("symlink", "dash", 0o644, 0, 0)
    (implied,) = list_files(engine, "app", listing=Listing("", sort="name", offset=1, limit=1)).items
    assert (implied.path, implied.mode, implied.modified, implied.layer) == ("opt", None, None, 1)


@pytest.mark.usefixtures("app")
def test_wasted_bytes_by_path(engine: Engine) -> None:
    files = list_files(engine, "app", view=View.WASTED)
    assert [(item.path, item.bytes, item.files, item.change) for item in files.items] == [
        ("usr/lib/big", 5000, 1, Change.REMOVED),
        ("etc/passwd", 20, 1, None),
    ]
    assert [item.path for item in list_files(engine, "app", view=View.WASTED, listing=Listing("etc")).items] == ["etc/passwd"]


def test_what_a_layer_did(engine: Engine, app: tuple[Layout, Json]) -> None:
    layer = layers_of(*app)[1]["digest"]
    files = list_files(engine, "app", layer="1", view=View.FLAT)
    assert [(item.path, item.change, item.before, item.bytes) for item in files.items] == [
        ("usr/lib/big", Change.REMOVED, 5000, 0),
        ("opt/app", Change.ADDED, 0, 300),
        ("etc/passwd", Change.CHANGED, 20, 40),
    ]
    assert files.layer == 1
    by_digest = list_files(engine, "app", layer=layer)
    assert [(item.path, item.change, item.bytes, item.files) for item in by_digest.items] == [
        ("usr", None, 0, 1),
        ("opt", Change.ADDED, 300, 1),
        ("etc", None, 40, 1),
    ]
    assert [shown.layer.created_by for shown in files.layers] == ["COPY layer0 / # buildkit", "COPY layer1 / # buildkit"]
    assert items(list_files(engine, "app", layer="0"))[0] == ("usr", 5010, 3)


def test_content_is_removed_with_its_last_hard_link(engine: Engine) -> None:
    links: dict[str, bytes | Link | None] = {"a/f": b"1" * 5000, "b/g": HardLink("a/f"), "c/h": HardLink("b/g")}
    put_layers(engine, "linked", links, {"b/.wh.g": b""}, {"a/.wh.f": b""}, {"c/.wh.h": b""})
    files = list_files(engine, "linked")
    assert [shown.did(Change.REMOVED) for shown in files.layers] == [Sum(0, 0), Sum(1, 0), Sum(1, 0), Sum(1, 5000)]
    assert files.layers[0].did(Change.ADDED) == Sum(3, 5000)
    (last,) = list_files(engine, "linked", layer="3", view=View.FLAT).items
    assert (last.path, last.before) == ("c/h", 5000)


def test_of_a_changed_hard_link_the_new_bytes_count(engine: Engine) -> None:
    put_layers(engine, "linked", {"f": b"1" * 5000, "g": HardLink("f")}, {"f": b"1" * 5000}, {"g": b"22"})
    files = list_files(engine, "linked")
    assert [shown.did(Change.SAME) for shown in files.layers] == [Sum(0, 0), Sum(1, 5000), Sum(0, 0)]
    assert [(item.before, item.bytes) for item in list_files(engine, "linked", layer="1").items] == [(0, 5000)]
    assert [(item.before, item.bytes) for item in list_files(engine, "linked", layer="2").items] == [(5000, 2)]


def test_what_a_directory_replaced_is_changed(engine: Engine) -> None:
    put_layers(engine, "swapped", {"p/q": b"1" * 10}, {"p": b"22"}, {"p/q": b"333"})
    assert [(item.path, item.change) for item in list_files(engine, "swapped", layer="1").items] == [("p", Change.CHANGED)]
    assert [(item.path, item.change) for item in list_files(engine, "swapped", layer="2").items] == [("p", Change.CHANGED)]


def test_a_directory_whose_files_changed_alike_says_so(engine: Engine) -> None:
    put_layers(engine, "again", {"d/a": b"1", "d/b": b"2", "e/a": b"1"}, {"d/a": b"1", "d/b": b"2", "e/a": b"2", "e/b": b""})
    assert {item.path: item.change for item in list_files(engine, "again", layer="1").items} == {"d": Change.SAME, "e": None}


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layer": "2"}, NotFound, "image app has no such layer; it has 2"),
        ({"layer": "sha256:ab"}, NotFound, "image app has no such layer; it has 2"),
        ({"listing": Listing("usr/none")}, NotFound, "image app has no file /usr/none"),
        ({"platform": Platform("linux", "s390x")}, NotFound, "does not provide the specified platform"),
        ({"layer": "1", "view": View.WASTED}, InvalidParameter, "bytes are wasted in a whole image: leave out the layer"),
    ],
)
def test_what_is_not_there_is_said(engine: Engine, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        list_files(engine, "app", **options)


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(InvalidParameter, match=r"^sort must be one of name, size, growth, files, layer, with - in front"):
        Listing(sort="color")


def test_an_absent_image_is_not_found(engine: Engine) -> None:
    with pytest.raises(ImageNotFound, match=r"^No such image: app:latest$"):
        list_files(engine, "app")


def test_the_second_look_reads_no_layer(engine: Engine, costs: Costs) -> None:
    put_layers(engine, "app", {"seen": b"once"}, {"seen": b"twice"})
    opened = costs.opened
    first = list_files(engine, "app")
    assert costs.opened - opened == 2
    assert list_files(engine, "app").items == first.items
    assert costs.opened - opened == 2


def test_each_platform_has_its_own_files(engine: Engine) -> None:
    layout = Layout()
    layout.tag(layout.multi_platform(), "docker.io/library/multi:latest")
    put_image(engine, "multi", layout)
    names = {
        text: [item.path for item in list_files(engine, "multi", platform=Platform.parse(text), listing=Listing("files")).items]
        for text in ("linux/amd64", "linux/arm64")
    }
    assert {text: [name.rpartition("/")[2] for name in sorted(found)] for text, found in names.items()} == {
        "linux/amd64": ["base", "linux-amd64"],
        "linux/arm64": ["base", "linux-arm64-v8"],
    }


def test_a_name_that_is_no_utf8_can_be_opened(engine: Engine) -> None:
    layout = Layout()
    raw = make_tar({"caf\udce9/x": b"12"})
    put_image(engine, "odd", layout, layout.image([raw]))
    assert [item.path for item in list_files(engine, "odd", listing=Listing("/caf\\xe9")).items] == ["caf\udce9/x"]
    assert list_files(engine, "odd", listing=Listing("caf\udce9")).path == "caf\udce9"


def test_a_foreign_layer_that_is_absent_is_told(engine: Engine) -> None:
    layout = Layout()
    raw, foreign = make_tar({"a": b"1"}), make_tar({"b": b"2"})
    layer = layout.add(compress(raw, "gzip"), mediatypes.OCI_LAYER_GZIP)
    absent = {
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "digest": digest_of(foreign),
        "size": len(foreign),
    }
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest_of(foreign), digest_of(raw)]}}
    put_image(engine, "foreign", layout, layout.manifest(layout.add_json(config, mediatypes.OCI_CONFIG), [absent, layer]))
    files = list_files(engine, "foreign")
    assert items(files) == [("a", 1, 1)]
    assert files.problem == "layer 1 of 2: it is a foreign layer that the store does not have"
    with pytest.raises(Unsupported, match="cannot be listed: it is a foreign layer that the store does not have$"):
        list_files(engine, "foreign", layer="0")


def test_what_is_no_archive_of_files_is_said_to_be_none(engine: Engine) -> None:
    layout = Layout()
    text = layout.add(b"{}", "text/plain")
    put_image(engine, "text", layout, layout.manifest(layout.add_json({}, "application/vnd.oci.empty.v1+json"), [text]))
    expected = rf"^image text has no layers that are archives of files: layer {text['digest']} \(text/plain\): it is not a tar archive$"
    with pytest.raises(Unsupported, match=expected):
        list_files(engine, "text")


def test_a_chart_is_an_archive_of_files(engine: Engine) -> None:
    layout = Layout()
    put_image(engine, "chart", layout, layout.chart())
    assert [item.path for item in list_files(engine, "chart", view=View.FLAT).items] == ["web/Chart.yaml"]


def test_an_image_without_layers_has_no_files(engine: Engine) -> None:
    put_layers(engine, "scratch")
    files = list_files(engine, "scratch")
    assert (files.total, files.sum.files, files.problem) == (0, 0, "")


def test_a_damaged_layer_is_marked_and_the_others_are_shown(engine: Engine) -> None:
    layout = Layout()
    big = make_layer("big", size=200_000)
    descriptor = layout.image([make_tar({"a": b"1"}), big], compression="none")
    put_image(engine, "app", layout, descriptor)
    damaged = Digest.parse(layers_of(layout, descriptor)[1]["digest"])
    flip(blob_file(engine, damaged))
    files = list_files(engine, "app")
    assert items(files) == [("a", 1, 1)]
    assert f"layer 2 of 2: blob {damaged} holds other bytes" in files.problem
    assert list(damages(engine)) == [damaged]
    with engine.metadata.read() as tx:
        assert tx.layer_files.get([damaged]) == {}


def test_a_damaged_layer_alone_is_an_error(engine: Engine) -> None:
    layout = Layout()
    descriptor = layout.image([make_layer("big", size=200_000)], compression="none")
    put_image(engine, "app", layout, descriptor)
    flip(blob_file(engine, Digest.parse(layers_of(layout, descriptor)[0]["digest"])))
    with pytest.raises(Damaged, match="holds other bytes"):
        list_files(engine, "app")


@pytest.mark.usefixtures("app")
def test_an_image_with_too_many_files_is_shown_layer_by_layer(engine: Engine) -> None:
    few = limited(engine, 6)
    with pytest.raises(
        Forbidden, match=r"^image app has more than 6 files; look at its layers one by one, or raise STOWAGE_LISTED_ENTRIES$"
    ):
        list_files(few, "app")
    files = list_files(few, "app", layer="1", view=View.FLAT)
    assert [(item.path, item.bytes) for item in files.items] == [("opt/app", 300), ("etc/passwd", 40)]
    assert [shown.effect is None for shown in files.layers] == [True, False]


def test_a_cut_layer_is_told(engine: Engine) -> None:
    put_layers(engine, "many", {f"{number}": b"" for number in range(20)})
    files = list_files(limited(engine, 10), "many")
    assert (files.total, files.problem) == (10, "layer 1 of 1: it has more than 10 entries, of which only these are listed")
    assert list_files(engine, "many").total == 20


def test_the_time_is_for_all_layers_of_a_request_together(engine: Engine, costs: Costs) -> None:
    put_layers(engine, "slow", *({f"{number}": b"slow"} for number in range(5)))
    opened = costs.opened
    hurried = replace(engine, limits=replace(engine.limits, listing_seconds=-1))
    files = list_files(hurried, "slow")
    assert {shown.problem for shown in files.layers} == {
        "reading the layers before it takes more than -1 seconds; STOWAGE_LISTING_SECONDS allows more"
    }
    assert costs.opened == opened
    assert list_files(engine, "slow").total == 5


def test_a_layer_that_is_there_many_times_is_read_once(engine: Engine, costs: Costs) -> None:
    same = {"again": b"and again"}
    put_layers(engine, "repeated", same, {"other": b""}, same, same)
    opened = costs.opened
    files = list_files(engine, "repeated")
    assert costs.opened - opened == 2
    assert [shown.content.files for shown in files.layers if shown.content] == [1, 1, 1, 1]
    assert (files.wasted.files, files.wasted.bytes) == (2, 18)


def test_an_image_of_many_layers_with_deep_directories_is_shown_layer_by_layer(engine: Engine) -> None:
    deep = "a/" * 900
    layout = Layout()
    layers = [make_tar({f"{deep}{number}": b""}, tar_format=tarfile.GNU_FORMAT) for number in range(60)]
    put_image(engine, "deep", layout, layout.image(layers))
    few = limited(engine, 100)
    with pytest.raises(Forbidden, match=r"^image deep has too many layers with too deep directories .*; look at its layers one by one$"):
        list_files(few, "deep")
    assert list_files(few, "deep", layer="7", view=View.FLAT).total == 1


def test_of_many_layers_with_a_problem_the_first_are_named() -> None:
    assert join_problems(["", "damaged", ""]) == "layer 2 of 3: damaged"
    named = join_problems(["absent"] * 25).split("; ")
    assert (named[0], named[-2:]) == ("layer 1 of 25: absent", ["layer 20 of 25: absent", "and 5 more layers"])
