"""The grammar of Host and Origin, and which of them are this service's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowage.app.origin import Authority, is_known_host, is_own_origin

NO_HOST = [
    "",
    "[",
    "[]",
    "[::1",
    "::1",
    "[::1]x",
    "[::1]:",
    "[fe80::1%25eth0]",
    "[fe80::1%eth0]",
    "[127.0.0.1]",
    "[1:2]",
    "[v1.x]",
    "localhost:",
    "localhost:0",
    "localhost:65536",
    "localhost:123456",
    "localhost:+80",
    "localhost:8080:1",
    "localhost:80a",
    ":80",
    "localhost.",
    ".localhost",
    "a..b",
    "evil.example@localhost",
    "evil.example:80@localhost",
    "localhost#.evil.example",
    "localhost/.evil.example",
    "localhost?.evil.example",
    "localhost\\.evil.example",
    "localhost,evil.example",
    "localhost;evil",
    "http://localhost",
    "local host",
    " localhost",
    "localhost ",
    "localhost\n",
    "localhost\r\n",
    "localhost:80\n",
    "localhost\0",
    "local\thost",
    "%6cocalhost",
    "localhost%2eevil",
    "*.localhost",
    "h\xe9",
    "\u0661",  # a digit that is not one of ASCII's
    "localhost:\u0661",
    "\uff4cocalhost",
]


@pytest.mark.parametrize("text", NO_HOST)
def test_text_that_two_programs_may_read_differently_is_no_host(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Authority.parse(text)
    assert is_known_host(text, ("*",)) is (text == "")
    assert not is_own_origin("http://localhost", text, ("http", "https"), ())
    assert not is_own_origin(f"http://{text}", text, ("http", "https"), ("*",))


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("localhost", Authority("localhost")),
        ("LocalHost:2375", Authority("localhost", 2375)),
        ("a_b-c.Example.ORG:1", Authority("a_b-c.example.org", 1)),
        ("127.0.0.1:65535", Authority("127.0.0.1", 65535)),
        ("[::1]", Authority("::1")),
        ("[0:0:0:0:0:0:0:1]:2375", Authority("::1", 2375)),
        ("[FE80::A]", Authority("fe80::a")),
        ("xn--bcher-kva.example", Authority("xn--bcher-kva.example")),
    ],
)
def test_a_host_is_read_whatever_its_case(text: str, authority: Authority) -> None:
    assert Authority.parse(text) == authority


def is_host(text: str) -> bool:
    try:
        Authority.parse(text)
    except ValueError:
        return False
    return True


@given(st.text(max_size=20) | st.text("aZ09-_.:[]%@/", max_size=12) | st.from_regex(r"\A(\w+(\.\w+)?|\[[0-9a-f:]+\])(:\d+)?\Z"))
def test_whatever_a_client_sends_is_read_or_refused(text: str) -> None:
    assert is_known_host(text, ("*",)) is (text == "" or is_host(text))
    assert is_known_host(text, ()) in (False, text == "" or is_host(text))
    assert is_own_origin(f"http://{text}", text, ("http",), ()) is is_host(text)
    assert is_own_origin(text, "localhost", ("http",), ("*",)) in (False, is_host(text.partition("://")[2]))


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("", id="none"),
        pytest.param("192.0.2.1:2375", id="IPv4 address"),
        pytest.param("[2001:db8::1]:2375", id="IPv6 address"),
        pytest.param("docker:2375", id="service of Compose"),
        pytest.param("d", id="podman"),
        pytest.param("localhost:2375", id="localhost"),
        pytest.param("api.moby.localhost", id="forwarded socket"),
        pytest.param("host.docker.internal:2375", id="from a container"),
        pytest.param("docker.example.com", id="through ssh"),
        pytest.param("Engine.Example:2375", id="own name"),
        pytest.param("a.b.pages.example", id="below an own domain"),
    ],
)
def test_a_host_that_no_rebound_page_can_have_is_known(host: str) -> None:
    assert is_known_host(host, ("engine.example", "*.pages.example"))


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:2375",
        "localhost.evil.example",
        "evil-localhost.example",
        "internal.evil.example",
        "xinternal.example",
        "evil.docker.example.com",
        "example.com",
        "127.0.0.1.evil.example",
        "127.0.0.1.nip.io",
        "127.1",
        "0x7f.0.0.1",
        "256.0.0.1",
        "pages.example",
        "evilpages.example",
        "engine.example.evil.example",
    ],
)
def test_a_host_that_a_site_may_have_is_not(host: str) -> None:
    assert not is_known_host(host, ("engine.example", "*.pages.example"))
    assert is_known_host(host, ("*",))


@pytest.mark.parametrize(
    ("origin", "host", "schemes"),
    [
        ("http://localhost:2375", "localhost:2375", ("http",)),
        ("http://localhost", "localhost", ("http",)),
        ("http://localhost", "localhost:80", ("http",)),
        ("HTTP://LocalHost:80", "LOCALHOST", ("http",)),
        ("https://h", "h:443", ("https",)),
        ("https://h", "h", ("https",)),
        ("https://h:2376", "h:2376", ("https",)),
        ("https://[::1]:2376", "[::1]:2376", ("https",)),
        ("http://h", "h", ("http", "https")),
        ("https://h", "h", ("http", "https")),
    ],
)
def test_an_origin_is_own_where_it_is_the_host_and_port_that_are_asked_for(origin: str, host: str, schemes: tuple[str, ...]) -> None:
    assert is_own_origin(origin, host, schemes, ())


@pytest.mark.parametrize(
    ("origin", "host", "schemes"),
    [
        ("", "localhost", ("http",)),
        ("null", "null", ("http", "https")),
        ("null", "localhost", ("http", "https")),
        ("http://", "", ("http",)),
        ("http://localhost", "", ("http",)),
        ("http://localhost:8080", "localhost:2375", ("http",)),
        ("http://localhost", "localhost:2375", ("http",)),
        ("http://localhost:2375", "localhost", ("http",)),
        ("https://localhost", "localhost:80", ("http", "https")),
        ("http://h", "h:443", ("https",)),
        ("https://h:2375", "h:2375", ("http",)),
        ("http://h:2376", "h:2376", ("https",)),
        ("http://evil.example", "localhost", ("http",)),
        ("http://localhost/", "localhost", ("http",)),
        ("http:localhost", "localhost", ("http",)),
        ("//localhost", "localhost", ("http",)),
        ("localhost", "localhost", ("http",)),
        ("http://localhost,http://evil.example", "localhost", ("http",)),
        ("http://localhost http://evil.example", "localhost", ("http",)),
        ("http://[", "[", ("http",)),
        ("file://localhost", "localhost", ("http", "https")),
        ("chrome-extension://localhost", "localhost", ("http", "https")),
    ],
)
def test_any_other_origin_is_foreign(origin: str, host: str, schemes: tuple[str, ...]) -> None:
    assert not is_own_origin(origin, host, schemes, ("engine.example", "*.pages.example"))


@pytest.mark.parametrize(
    ("origin", "names", "own"),
    [
        ("http://engine.example", ("engine.example",), True),
        ("https://engine.example:8443", ("engine.example",), True),
        ("https://10.0.0.5:9000", ("10.0.0.5",), True),
        ("https://ui.pages.example", ("*.pages.example",), True),
        ("https://pages.example", ("*.pages.example",), False),
        ("https://evil.example", ("*",), True),
        ("null", ("*",), False),
        ("", ("*",), False),
        ("tauri://engine.example", ("engine.example",), False),
        ("https://user@engine.example", ("engine.example",), False),
    ],
)
def test_the_pages_of_a_named_host_are_own_at_any_port(origin: str, names: tuple[str, ...], own: bool) -> None:
    assert is_own_origin(origin, "localhost:2375", ("http",), names) is own
