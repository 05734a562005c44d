"""hosts.toml and Docker's folders of certificates, as users have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from stowage.services.errors import RegistryFailure
from stowage.services.registry.certs import Trust
from stowage.services.registry.hosts import Endpoint, HostNames, Hosts

ALL = {"pull", "resolve", "push"}


def write(root: Path, host: str, **files: str) -> Path:
    folder = root / host
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def hosts(root: Path, **options: tuple[str, ...]) -> Hosts:
    return Hosts(certs=(root / "none", root), **options)


def bases(endpoints: list[Endpoint]) -> list[str]:
    return [endpoint.base for endpoint in endpoints]


MIRRORED = """
server = "https://upstream.example"

[host."https://b.example"]
  capabilities = ["pull"]
  skip_verify = true
  [host."https://b.example".header]
    x-team = "blue"
    x-list = ["one", "two"]

[host."http://a.example:5000/hub"]
  capabilities = ["pull", "resolve"]

[host."https://c.example/root"]
  override_path = true
"""


def test_hosts_are_asked_in_the_files_order_and_the_server_last(tmp_path: Path) -> None:
    write(tmp_path, "registry.example", hosts__toml=MIRRORED)
    b, a, c, server = hosts(tmp_path).endpoints("registry.example")
    assert bases([b, a, c, server]) == [
        "https://b.example/v2",
        "http://a.example:5000/hub/v2",
        "https://c.example/root",
        "https://upstream.example/v2",
    ]
    assert [endpoint.capabilities for endpoint in (b, a, c, server)] == [{"pull"}, {"pull", "resolve"}, ALL, ALL]
    assert (b.trust.verified, a.trust.verified, b.insecure) == (False, True, False)
    assert b.headers == (("x-team", "blue"), ("x-list", "one, two"))
    assert {endpoint.namespace for endpoint in (a, b, c, server)} == {"registry.example"}
    assert not a.may_have_secrets
    assert b.may_have_secrets


@pytest.mark.parametrize(
    ("folder", "domain", "found"),
    [
        pytest.param("registry.example", "registry.example", True, id="the host"),
        pytest.param("registry.example_5000_", "registry.example:5000", True, id="underscores around the port"),
        pytest.param("registry.example:5000", "registry.example:5000", True, id="a colon before the port"),
        pytest.param("_default", "registry.example:5000", True, id="the default"),
        pytest.param("registry.example", "registry.example:5000", False, id="another port"),
    ],
)
def test_the_folder_of_a_registry(tmp_path: Path, folder: str, domain: str, found: bool) -> None:
    write(tmp_path, folder, hosts__toml='[host."https://mirror.example"]')
    expected = ["https://mirror.example/v2"] * found + [f"https://{domain}/v2"]
    assert bases(hosts(tmp_path).endpoints(domain)) == expected


def test_a_hosts_toml_without_hosts_leaves_the_mirrors_of_the_settings(tmp_path: Path) -> None:
    write(tmp_path, "docker.io", hosts__toml="capabilities = ['pull', 'resolve']")
    mirrored = hosts(tmp_path, mirrors=("https://mirror.example/",)).endpoints("docker.io")
    assert bases(mirrored) == ["https://mirror.example/v2", "https://registry-1.docker.io/v2"]
    assert [endpoint.namespace for endpoint in mirrored] == ["docker.io", ""]


def test_a_file_is_read_anew_for_each_operation(tmp_path: Path) -> None:
    known = hosts(tmp_path)
    assert bases(known.endpoints("r.example")) == ["https://r.example/v2"]
    write(tmp_path, "r.example", hosts__toml="server = 'other.example'")
    assert bases(known.endpoints("r.example")) == ["https://other.example/v2"]


def test_certificates_may_be_anywhere(tmp_path: Path) -> None:
    text = f'ca = ["one.pem", "{tmp_path}/two.pem"]\nclient = [["c.cert", "c.key"], "both.pem"]'
    folder = write(tmp_path, "r.example", hosts__toml=text, one__pem="", c__cert="", c__key="", both__pem="")
    (tmp_path / "two.pem").touch()
    trust = hosts(tmp_path).trust("r.example")
    assert [file.path for file in trust.authorities] == [folder / "one.pem", tmp_path / "two.pem"]
    assert [(first.path.name, second.path.name) for first, second in trust.clients] == [("c.cert", "c.key"), ("both.pem", "both.pem")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("server = ", "Invalid value", id="no TOML"),
        pytest.param("server = 1", "is not a host", id="a number for a server"),
        pytest.param("server = 'ftp://x'", "unable to parse server", id="another scheme"),
        pytest.param("server = 'https://user@x'", "unable to parse server", id="a user name"),
        pytest.param("host = 1", "host is not a table", id="no table of hosts"),
        pytest.param("[host.'https://x']\ncapabilities = ['fly']", "unknown capability fly", id="unknown capability"),
        pytest.param("skip_verify = 'yes'", "neither true nor false", id="a text for a flag"),
        pytest.param("ca = 'missing.pem'", "No such file", id="a missing file"),
        pytest.param("ca = 1", "neither a string nor a list", id="a number for a file"),
        pytest.param("client = [['a', 'b', 'c']]", "nor a list of files or pairs", id="three files"),
        pytest.param("header = 1", "header is not a table", id="no table of headers"),
        pytest.param("header = {'x:y' = 'a'}", "header x:y cannot be sent", id="a header with no name"),
        pytest.param("header = {'x-team' = '\u20ac'}", "header x-team cannot be sent", id="a header that is no ASCII"),
    ],
)
def test_a_file_that_cannot_be_is_refused_by_its_path(tmp_path: Path, text: str, words: str) -> None:
    write(tmp_path, "r.example", hosts__toml=text)
    with pytest.raises(RegistryFailure, match=words):
        hosts(tmp_path).endpoints("r.example")


class TestCertificates:
    """Docker's layout."""

    def test_authorities_and_pairs_are_found(self, tmp_path: Path) -> None:
        folder = write(tmp_path, "r.example", ca__crt="", more__crt="", client__cert="", client__key="", README="")
        trust = hosts(tmp_path).trust("r.example")
        assert [file.path.name for file in trust.authorities] == ["ca.crt", "more.crt"]
        assert [(certificate.path, key.path) for certificate, key in trust.clients] == [(folder / "client.cert", folder / "client.key")]

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            pytest.param("client__cert", "missing key client.key for client certificate client.cert", id="no key"),
            pytest.param("client__key", "missing client certificate client.cert for key client.key", id="no certificate"),
        ],
    )
    def test_half_a_pair_is_refused(self, tmp_path: Path, name: str, words: str) -> None:
        write(tmp_path, "r.example", **{name: ""})
        with pytest.raises(RegistryFailure, match=words):
            hosts(tmp_path).endpoints("r.example")

    def test_what_is_no_certificate_is_named(self, tmp_path: Path) -> None:
        folder = write(tmp_path, "r.example", ca__crt="nothing")
        with pytest.raises(RegistryFailure, match=f"failed to load {folder}/ca.crt"):
            hosts(tmp_path).trust("r.example").context()

    def test_authorities_go_along_to_another_host_and_nothing_else(self, tmp_path: Path) -> None:
        write(tmp_path, "r.example", ca__crt="", client__cert="", client__key="")
        trust = hosts(tmp_path).trust("r.example")
        assert trust.elsewhere(Trust()) == Trust(authorities=trust.authorities)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param("auth.example", True, id="listed"),
        pytest.param("AUTH.example:8443", True, id="any port"),
        pytest.param("other.example:1", True, id="listed with its port"),
        pytest.param("other.example", False, id="without it"),
        pytest.param("a.b.below.example", True, id="below a domain"),
        pytest.param("below.example", False, id="the domain itself"),
        pytest.param("evilbelow.example", False, id="a name that only ends alike"),
    ],
)
def test_a_list_of_hosts(host: str, expected: bool) -> None:
    assert (host in HostNames(("auth.example", "other.example:1", "*.below.example"))) is expected
