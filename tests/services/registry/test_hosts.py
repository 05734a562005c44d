"""Which hosts are asked, in which order, and what TLS trusts there."""

from __future__ import annotations

from pathlib import Path

import pytest

from stowage.services.errors import RegistryFailure
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.reference import Reference
from stowage.services.registry.credentials import Credentials
from stowage.services.registry.hosts import Endpoint, HostNames, Hosts, InsecureHosts, Trust, credential_host
from tests.builders import Layout
from tests.engines import registry_client
from tests.fake_registry import FakeRegistry
from tests.services.registry.clients import INSECURE, target

LOOPBACK = ("127.0.0.0/8", "::1/128")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param("127.0.0.1", True, id="address in a network"),
        pytest.param("127.9.9.9:5000", True, id="with a port"),
        pytest.param("[::1]:5000", True, id="IPv6"),
        pytest.param("localhost:5000", True, id="a name with an address there"),
        pytest.param("10.0.0.1:5000", False, id="another address"),
        pytest.param("no-such-host.invalid", False, id="a name without an address"),
        pytest.param("registry.example:5000", True, id="listed with its port"),
        pytest.param("registry.example:5001", False, id="listed with another port"),
        pytest.param("plain.example", True, id="listed name"),
    ],
)
def test_the_insecure_list_takes_networks_and_hosts(host: str, expected: bool) -> None:
    assert (host in InsecureHosts(("127.0.0.0/8", "::1/128", "registry.example:5000", "plain.example"))) is expected


@pytest.mark.parametrize(
    ("domain", "mirrors", "expected"),
    [
        pytest.param("docker.io", (), ["https://registry-1.docker.io/v2"], id="Docker Hub"),
        pytest.param(
            "docker.io",
            ("http://127.0.0.1:5000", "https://mirror.example/hub/", "https://other.example/v2"),
            [
                "http://127.0.0.1:5000/v2",
                "https://mirror.example/hub/v2",
                "https://other.example/v2",
                "https://registry-1.docker.io/v2",
            ],
            id="mirrors of Docker Hub come first, in order",
        ),
        pytest.param(
            "registry.example:5000", ("https://mirror.example",), ["https://registry.example:5000/v2"], id="no mirror of another registry"
        ),
    ],
)
def test_endpoints_of_a_domain(domain: str, mirrors: tuple[str, ...], expected: list[str]) -> None:
    assert [endpoint.base for endpoint in Hosts(insecure=LOOPBACK, mirrors=mirrors).endpoints(domain)] == expected


def test_plain_http_may_only_follow_where_the_host_is_insecure() -> None:
    insecure, secure = Endpoint("https://127.0.0.1:5000/v2", insecure=True), Endpoint("https://registry.example/v2", insecure=False)
    assert insecure.may_be_plain
    assert insecure.plain == Endpoint("http://127.0.0.1:5000/v2", insecure=True)
    assert not insecure.plain.may_be_plain
    assert not secure.may_be_plain


@pytest.mark.parametrize(
    ("server_address", "domain", "expected"),
    [
        pytest.param("", "registry.example:5000", "registry.example:5000", id="none given"),
        pytest.param("https://index.docker.io/v1/", "docker.io", "registry-1.docker.io", id="Docker Hub's address"),
        pytest.param("", "docker.io", "registry-1.docker.io", id="Docker Hub"),
        pytest.param("https://registry.example/v2/", "registry.example", "registry.example", id="a URL"),
        pytest.param("registry.example/path", "other.example", "registry.example", id="another registry"),
    ],
)
def test_credentials_are_meant_for_one_host(server_address: str, domain: str, expected: str) -> None:
    assert credential_host(server_address, domain) == expected


class TestMirrors:
    """docker.io's mirrors are asked first; the last endpoint's word counts."""

    def resolve(self, *mirrors: str) -> Descriptor:
        reference = Reference.parse("team/app:1")
        with registry_client(insecure=INSECURE, mirrors=mirrors).repository(reference) as repository:
            return repository.resolve(reference)

    def test_the_first_that_has_the_image_answers(self, layout: Layout) -> None:
        with FakeRegistry().serve() as empty, FakeRegistry().serve() as mirror:
            mirror.publish(layout, layout.manifests[0])
            mirrored = self.resolve("http://127.0.0.1:1", empty.base, mirror.base)
            assert mirrored == target(layout)
            assert [request.query for request in empty.requests + mirror.requests] == [{"ns": ["docker.io"]}] * 2

    def test_credentials_for_docker_hub_are_not_sent_to_a_mirror(self, layout: Layout) -> None:
        with FakeRegistry().serve() as mirror:
            mirror.publish(layout, layout.manifests[0])
            reference = Reference.parse("team/app:1")
            credentials = Credentials(username="user", password="p4ss")
            with registry_client(insecure=INSECURE, mirrors=(mirror.base,)).repository(reference, credentials=credentials) as repository:
                repository.resolve(reference)
            assert "Authorization" not in mirror.requests[0].headers


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
