"""Image configs: Go's reading, and the bytes that an import writes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowage.services.errors import InvalidContent
from stowage.services.oci.config import ContainerConfig, HealthCheck, History, ImageConfig
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform
from stowage.services.timestamps import ZERO, Timestamp

DIFF_ID = Digest.parse("sha256:7ca34dc052132be1c62c3adb70e1fc3906934d70ee3998b8cda00ea5deb8d01a")
CREATED = Timestamp.parse("2026-11-24T08:38:50.816492032Z")

RECORDED = (
    b'{"created":"2026-11-24T08:38:50.816492032Z","architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":['
    b'"sha256:7ca34dc052132be1c62c3adb70e1fc3906934d70ee3998b8cda00ea5deb8d01a"]},"history":[{"created":"2026-11-24T08:38:50.816492032Z",'
    b'"comment":"msg \\u003cb\\u003e"}],"config":{"ExposedPorts":{"443/udp":{},"80/tcp":{}},"Env":["A=b"],"Cmd":["a"],"Volumes":{"/a":{},'
    b'"/z":{}},"Labels":{"a":"\\u003cx\\u003e\\u0026y","b":"2"},"Healthcheck":{"Test":["CMD-SHELL","x"],"Interval":300000000000},'
    b'"OnBuild":["RUN y"]}}'
)
"""What dockerd 26.1.5 with the containerd image store wrote for an import with changes."""

IMPORTED = ImageConfig(
    platform=Platform("linux", "amd64"),
    created=CREATED,
    container=ContainerConfig(
        exposed_ports={"80/tcp": {}, "443/udp": {}},
        env=("A=b",),
        cmd=("a",),
        volumes={"/z": {}, "/a": {}},
        labels={"b": "2", "a": "<x>&y"},
        healthcheck=HealthCheck(test=("CMD-SHELL", "x"), interval=300_000_000_000),
        on_build=("RUN y",),
    ),
    rootfs_type="layers",
    diff_ids=(DIFF_ID,),
    history=(History(created=CREATED, comment="msg <b>"),),
)


def test_an_imported_config_has_the_bytes_that_docker_writes() -> None:
    assert IMPORTED.to_bytes() == RECORDED


def test_what_docker_wrote_is_read_back() -> None:
    assert ImageConfig.parse(RECORDED) == IMPORTED


def test_an_empty_config_is_written_with_what_go_never_omits() -> None:
    empty = ImageConfig(Platform())
    assert empty.to_bytes() == b'{"architecture":"","os":"","rootfs":{"type":"","diff_ids":null},"config":{}}'
    assert ImageConfig.parse(b"{}") == empty
    assert ImageConfig.parse(b'{"config":null,"history":null,"created":null,"rootfs":null}') == empty


def test_every_member_is_written_in_gos_order() -> None:
    full = ImageConfig(
        platform=Platform("windows", "arm", "v7", "10.0", ("f",)),
        created=CREATED,
        author="me",
        container=ContainerConfig(
            "u", {"1/tcp": {}}, ("e",), ("p",), ("c",), {"/v": {}}, "/w", {"l": ""}, "9", True,
            HealthCheck((), 1, 2, 3, 4, 5), ("o",), ("s",),
        ),
        rootfs_type="layers",
        diff_ids=(),
        history=(History(CREATED, "by", "a", "c", True), History()),
    )  # fmt: skip
    document = json.loads(full.to_bytes())
    assert list(document) == [
        "created", "author", "architecture", "os", "os.version", "os.features", "variant", "rootfs", "history", "config",
    ]  # fmt: skip
    assert list(document["config"]) == [
        "User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal", "ArgsEscaped", "Healthcheck",
        "OnBuild", "Shell",
    ]  # fmt: skip
    assert list(document["config"]["Healthcheck"]) == ["Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"]
    assert [list(step) for step in document["history"]] == [["created", "created_by", "author", "comment", "empty_layer"], []]


def test_null_and_empty_are_told_apart() -> None:
    config = ImageConfig.parse(b'{"config":{"Env":[],"Cmd":null,"Labels":{},"Volumes":{"/a":null}},"rootfs":{"diff_ids":[]}}')
    assert config.container.env == ()
    assert config.container.cmd is None
    assert config.container.labels == {}
    assert config.container.exposed_ports is None
    assert config.container.volumes == {"/a": {}}
    assert config.diff_ids == ()


def test_keys_match_in_any_case_and_unknown_ones_are_dropped() -> None:
    config = ImageConfig.parse(b'{"OS":"linux","Architecture":"s390x","container_config":{"Cmd":7},"CONFIG":{"env":["A=1"],"Hostname":3}}')
    assert config.platform == Platform("linux", "s390x")
    assert config.container == ContainerConfig(env=("A=1",))


def test_what_is_in_a_set_is_dropped() -> None:
    assert ImageConfig.parse(b'{"config":{"Volumes":{"/a":{"x":1}}}}').container.volumes == {"/a": {}}


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"os":1}', id="number as os"),
        pytest.param(b'{"rootfs":[]}', id="list as rootfs"),
        pytest.param(b'{"rootfs":{"type":1}}', id="number as type"),
        pytest.param(b'{"rootfs":{"diff_ids":["sha256:zz"]}}', id="malformed diff_id"),
        pytest.param(b'{"rootfs":{"diff_ids":"sha256:zz"}}', id="text as diff_ids"),
        pytest.param(b'{"a":' * 50_000, id="nested without end"),
    ],
)
def test_a_config_that_containerd_cannot_unpack_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidContent):
        ImageConfig.parse(raw)


@pytest.mark.parametrize(
    ("config", "read", "problem"),
    [
        pytest.param(b'{"Cmd":"sh"}', ContainerConfig(), "string into Go struct field Image.config.Cmd of type []string", id="text as cmd"),
        pytest.param(b'{"Env":"A=1","User":"u"}', ContainerConfig(user="u"), "string into", id="text as env"),
        pytest.param(b'{"Env":["A=1",1]}', ContainerConfig(env=("A=1", "")), "number into", id="number in env"),
        pytest.param(b'{"Labels":{"a":1,"b":"2"}}', ContainerConfig(labels={"a": "", "b": "2"}), "number into", id="number as label"),
        pytest.param(b'{"Labels":["a"]}', ContainerConfig(), "array into", id="list as labels"),
        pytest.param(b'{"ExposedPorts":["80/tcp"]}', ContainerConfig(), "array into", id="list as ports"),
        pytest.param(b'{"ExposedPorts":{"80/tcp":0}}', ContainerConfig(exposed_ports={"80/tcp": {}}), "number into", id="number in ports"),
        pytest.param(b'{"Volumes":{"/a":""}}', ContainerConfig(volumes={"/a": {}}), "string into", id="text in volumes"),
        pytest.param(b'{"Healthcheck":{"Interval":"5m"}}', ContainerConfig(healthcheck=HealthCheck()), "string", id="text as interval"),
        pytest.param(b'{"ArgsEscaped":"true"}', ContainerConfig(), "string into", id="text as bool"),
        pytest.param(b"[]", ContainerConfig(), "array into Go struct field Image.config of type object", id="list as config"),
    ],
)  # fmt: skip
def test_a_setting_of_a_wrong_type_is_left_out_as_by_go(config: bytes, read: ContainerConfig, problem: str) -> None:
    parsed = ImageConfig.parse(b'{"os":"linux","config":%b,"created":"2026-11-24T08:38:50.816492032Z"}' % config)
    assert (parsed.platform.os, parsed.created, parsed.container, parsed.history_problem) == ("linux", CREATED, read, "")
    assert parsed.problem.startswith(f"json: cannot unmarshal {problem}")


@pytest.mark.parametrize(
    "created", [b'""', b"5", b'"2024-05-06T07:08:09"', b'"yesterday"', b"[1]"], ids=["empty", "number", "no zone", "words", "list"]
)
def test_a_time_that_is_none_is_the_zero_time_and_go_reads_no_further(created: bytes) -> None:
    before = ImageConfig.parse(b'{"config":{"User":"u"},"created":%b,"os":"linux","author":"me"}' % created)
    assert (before.created, before.container.user, before.platform.os, before.author) == (ZERO, "u", "linux", "")
    after = ImageConfig.parse(b'{"Created":%b,"config":{"User":"u","Labels":7}}' % created)
    assert (after.created, after.container) == (ZERO, ContainerConfig())
    assert after.problem.startswith(("parsing time", "Time.UnmarshalJSON: input is not a JSON string"))


@pytest.mark.parametrize(
    ("history", "read"),
    [
        pytest.param(b"{}", (), id="object"),
        pytest.param(b"[false]", (History(),), id="bool"),
        pytest.param(b'[{"empty_layer":1,"comment":"c"}]', (History(comment="c"),), id="number as empty_layer"),
        pytest.param(b'[{"created":"","comment":"c"}]', (History(created=ZERO, comment="c"),), id="empty time"),
    ],
)
def test_a_history_of_wrong_types_is_a_problem_of_its_own(history: bytes, read: tuple[History, ...]) -> None:
    config = ImageConfig.parse(b'{"config":{"User":"u"},"history":%b}' % history)
    assert (config.container.user, config.history) == ("u", read)
    assert config.problem == config.history_problem != ""


texts = st.lists(st.text(max_size=6), min_size=1, max_size=3).map(tuple)
sets = st.dictionaries(st.text(max_size=6), st.builds(dict[str, object]), min_size=1, max_size=3)
times = st.builds(Timestamp, st.integers(-(1 << 60), 1 << 62), st.integers(-720, 720))
containers = st.builds(
    ContainerConfig,
    user=st.text(max_size=6),
    exposed_ports=st.none() | sets,
    env=st.none() | texts,
    entrypoint=st.none() | texts,
    volumes=st.none() | sets,
    labels=st.none() | st.dictionaries(st.text(max_size=6), st.text(max_size=6), min_size=1, max_size=3),
    args_escaped=st.booleans(),
    healthcheck=st.none() | st.builds(HealthCheck, st.none() | texts, st.integers(0, 1 << 40), retries=st.integers(0, 9)),
    shell=st.none() | texts,
)
configs = st.builds(
    ImageConfig,
    st.builds(Platform, st.text(max_size=6), st.text(max_size=6), st.text(max_size=6)),
    st.none() | times,
    st.text(max_size=6),
    containers,
    st.text(max_size=6),
    st.none() | st.lists(st.binary(max_size=3).map(Digest.of), max_size=3).map(tuple),
    st.lists(st.builds(History, st.none() | times, comment=st.text(max_size=6), empty_layer=st.booleans()), max_size=3).map(tuple),
)


@given(configs)
def test_every_config_survives_being_written_and_read(config: ImageConfig) -> None:
    assert ImageConfig.parse(config.to_bytes()) == config
