"""Settings: what they may be, and the sentence for what they may not."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from stowage.app.setting_fields import Bind
from stowage.app.settings import SETTINGS, Config, ConfigError, mask_secrets
from stowage.blueprints.versioning import ApiVersion
from stowage.services.oci.platform import Platform


def test_defaults_are_a_unix_socket_and_sqlite_under_the_root() -> None:
    config = Config.from_environ({})
    root = Path("var").absolute()
    assert (config.root, config.content_root, config.database_url) == (root, root, f"sqlite:///{root}/stowage.db")
    assert [str(bind) for bind in config.bind] == [f"unix:{root}/stowage.sock"]
    assert (config.workers, config.threads, config.min_api_version, config.import_urls) == (2, 64, ApiVersion(1, 24), ())
    assert (config.insecure_registries, config.registry_mirrors) == (("127.0.0.0/8", "::1/128"), ())
    assert config.platform.without_level() == Platform.host()


def test_every_setting_is_read() -> None:
    environ = {
        "STOWAGE_ROOT": "/srv/stowage",
        "STOWAGE_BIND": "unix:/run/s.sock, 127.0.0.1:2375,[::1]:0,localhost:1",
        "STOWAGE_HEALTH_BIND": "0.0.0.0:9300,unix:/run/health.sock",
        "STOWAGE_LEAST_FREE": "0",
        "STOWAGE_DATABASE_URL": "sqlite:////srv/db",
        "STOWAGE_CONTENT_URL": "file:///srv/content",
        "STOWAGE_LOG_LEVEL": "DEBUG",
        "STOWAGE_WORKERS": "4",
        "STOWAGE_THREADS": "8",
        "STOWAGE_MIN_API_VERSION": "1.44",
        "STOWAGE_INSECURE_REGISTRIES": "10.0.0.0/8,fd00::/8,registry.example,registry.example:5000,[::1]:5000",
        "STOWAGE_REGISTRY_MIRRORS": "https://mirror.example,http://mirror.example:5000/path/",
        "STOWAGE_PLATFORM": "linux/arm/v7",
        "STOWAGE_IMPORT_URLS": "public,10.0.0.0/8",
        "STOWAGE_HOSTS": "Engine.Example, *.Pages.Example,10.0.0.5,[::01],docker,*",
    }
    config = Config.from_environ(environ)
    assert [str(bind) for bind in config.bind] == ["unix:/run/s.sock", "127.0.0.1:2375", "[::1]:0", "localhost:1"]
    assert ([str(bind) for bind in config.health_bind], config.least_free) == (["0.0.0.0:9300", "unix:/run/health.sock"], 0)
    assert (config.database_url, config.content_root) == ("sqlite:////srv/db", Path("/srv/content"))
    assert (config.log_level, config.workers, config.threads, config.min_api_version) == ("debug", 4, 8, ApiVersion(1, 44))
    assert config.insecure_registries == ("10.0.0.0/8", "fd00::/8", "registry.example", "registry.example:5000", "[::1]:5000")
    assert config.registry_mirrors == ("https://mirror.example/", "http://mirror.example:5000/path/")
    assert config.hosts == ("engine.example", "*.pages.example", "10.0.0.5", "::1", "docker", "*")
    assert (config.platform, config.import_urls) == (Platform(os="linux", architecture="arm", variant="v7"), ("public", "10.0.0.0/8"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STOWAGE_ROOT", ""),
        ("STOWAGE_BIND", ","),
        ("STOWAGE_BIND", "unix:"),
        ("STOWAGE_BIND", "2375"),
        ("STOWAGE_BIND", ":2375"),
        ("STOWAGE_BIND", "127.0.0.1:65536"),
        ("STOWAGE_BIND", "tcp://127.0.0.1"),
        ("STOWAGE_BIND", "fd://"),
        ("STOWAGE_BIND", "0.0.0.0:2375"),
        ("STOWAGE_BIND", "[::]:2375"),
        ("STOWAGE_BIND", "registry.example:2375"),
        ("STOWAGE_ALLOW_INSECURE_TCP", "yes"),
        ("STOWAGE_TLS_CERT", "/does/not/exist"),
        ("STOWAGE_DATABASE_URL", "mysql://user:secret@host/db"),
        ("STOWAGE_DATABASE_URL", "postgresql://"),
        ("STOWAGE_DATABASE_URL", "postgresql://user:se@cret@host/db"),
        ("STOWAGE_DATABASE_TIMEOUT", "0"),
        ("STOWAGE_DATABASE_URL", "sqlite://"),
        ("STOWAGE_DATABASE_URL", "sqlite:////srv/db?timeout=20"),
        ("STOWAGE_DATABASE_URL", "sqlite:///:memory:"),
        ("STOWAGE_CONTENT_URL", "s3://bucket"),
        ("STOWAGE_CONTENT_URL", "file://"),
        ("STOWAGE_LOG_LEVEL", "trace"),
        ("STOWAGE_LOG_LEVEL", ""),
        ("STOWAGE_WORKERS", "0"),
        ("STOWAGE_WORKERS", "-1"),
        ("STOWAGE_THREADS", "many"),
        ("STOWAGE_THREADS", "1.5"),
        ("STOWAGE_MIN_API_VERSION", "1.23"),
        ("STOWAGE_MIN_API_VERSION", "1.57"),
        ("STOWAGE_MIN_API_VERSION", "v1.45"),
        ("STOWAGE_INSECURE_REGISTRIES", "127.0.0.1/8"),
        ("STOWAGE_INSECURE_REGISTRIES", "http://registry.example"),
        ("STOWAGE_REGISTRY_MIRRORS", "mirror.example"),
        ("STOWAGE_REGISTRY_MIRRORS", "https://user:secret@mirror.example"),
        ("STOWAGE_REGISTRY_MIRRORS", "https://mirror.example?x=1"),
        ("STOWAGE_REGISTRY_MIRRORS", "https://"),
        ("STOWAGE_REGISTRY_MIRRORS", "https://[mirror"),
        ("STOWAGE_SEARCH_INDEX", "index.example"),
        ("STOWAGE_SEARCH_INDEX", "https://user:secret@index.example"),
        ("STOWAGE_SEARCH_INDEX", "https://index.example?x=1"),
        ("STOWAGE_PLATFORM", "lin ux/amd64"),
        ("STOWAGE_IMPORT_URLS", "true"),
        ("STOWAGE_DECOMPRESSION_RATIO", "0"),
        ("STOWAGE_CONCURRENT_DOWNLOADS", ""),
        ("STOWAGE_WORKERS", "1025"),
        ("STOWAGE_THREADS", "10000"),
        ("STOWAGE_MIN_API_VERSION", "1.024"),
        ("STOWAGE_BIND", "127.0.0.1:1,127.0.0.1:1"),
        ("STOWAGE_HOSTS", "engine.example:2375"),
        ("STOWAGE_HOSTS", "http://engine.example"),
        ("STOWAGE_HOSTS", "*engine.example"),
        ("STOWAGE_HOSTS", "*.10.0.0.5"),
        ("STOWAGE_HOSTS", "::1"),
        ("STOWAGE_HOSTS", "engine.example."),
        ("STOWAGE_HEALTH_BIND", "9300"),
        ("STOWAGE_LEAST_FREE", "1G"),
        ("STOWAGE_TYPO", "1"),
    ],
)
def test_a_wrong_value_is_refused_with_a_sentence_that_names_its_setting(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name}\b.*\.$") as refusal:
        Config.from_environ({name: value})
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("tcp://127.0.0.1:2375", "127.0.0.1:2375"),
        ("tcp://[::1]:2375", "[::1]:2375"),
        ("unix:///run/s.sock", "unix:/run/s.sock"),
        ("unix://s.sock", f"unix:{Path.cwd()}/s.sock"),
    ],
)
def test_addresses_may_be_written_as_docker_host_has_them(text: str, bind: str) -> None:
    assert str(Bind.parse(text)) == bind


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("/run/s.sock", "; write unix:/run/s.sock"),
        (":2375", "; write 127.0.0.1:2375 for this machine alone, or 0.0.0.0:2375 for every address"),
        ("2375", "; write 127.0.0.1:2375 for this machine alone, or 0.0.0.0:2375 for every address"),
        ("tcp://:2375", "; write 127.0.0.1:2375 for this machine alone, or 0.0.0.0:2375 for every address"),
        ("tcp://localhost", "; write localhost:2375, or another port"),
        ("unix://", ", and a unix socket needs a path"),
        ("http://localhost:2375", ", and http://localhost:2375 is neither"),
    ],
)
def test_for_other_addresses_it_is_said_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        Config.from_environ({"STOWAGE_BIND": text})
    assert str(refusal.value) == f"STOWAGE_BIND must be a comma-separated list of unix:PATH and HOST:PORT{hint}."


def test_the_socket_is_in_the_root_unless_something_else_is_named(tmp_path: Path) -> None:
    for bind in ({}, {"STOWAGE_BIND": ""}):
        config = Config.from_environ({"STOWAGE_ROOT": str(tmp_path), **bind})
        assert [str(bind) for bind in config.bind] == [f"unix:{tmp_path}/stowage.sock"]


def test_an_option_takes_precedence_and_is_named_in_the_refusal(tmp_path: Path) -> None:
    config = Config.from_environ({"STOWAGE_ROOT": "/nowhere"}, {"STOWAGE_ROOT": str(tmp_path)})
    assert config.root == tmp_path
    with pytest.raises(ConfigError, match=r"^--bind must be "):
        Config.from_environ({}, {"STOWAGE_BIND": "x"})


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("https://user:secret@mirror.example/,http://other.example/", "https://xxxxx@mirror.example/,http://other.example/"),
        ("https://user:sec/ret@mirror.example", "https://xxxxx@mirror.example"),
        ("user:secret@proxy.example:3128", "xxxxx@proxy.example:3128"),
        ("https://mirror.example/?token=secret", "https://mirror.example/?xxxxx"),
        ("/home/me@work/images", "/home/me@work/images"),
        ("sqlite:////home/me@work/db", "sqlite:////home/me@work/db"),
        ("postgresql://user:a,b@one:1,two:2/images", "postgresql://xxxxx@one:1,two:2/images"),
        ("postgresql+psycopg://user:a,b/@c@host/db?password=d,e", "postgresql+psycopg://xxxxx@host/db?xxxxx"),
        ("postgres:///db?service=a", "postgres:///db?xxxxx"),
        ("unix:/run/me@work.sock", "unix:/run/me@work.sock"),
    ],
)
def test_secrets_in_urls_are_masked_and_paths_are_not(text: str, masked: str) -> None:
    assert mask_secrets(text) == masked


def test_a_socket_path_is_refused_that_the_system_cannot_bind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = tmp_path / "ü".ljust(106 - len(str(tmp_path)) - 1, "s")
    with socket.socket(socket.AF_UNIX) as listener:
        (bind,) = Config.from_environ({"STOWAGE_BIND": f"unix:{longest}"}).bind
        listener.bind(str(bind.path))
    with pytest.raises(ConfigError) as refusal:
        Config.from_environ({"STOWAGE_BIND": f"unix:{longest}s"})
    assert str(refusal.value) == f"STOWAGE_BIND must have socket paths of at most 107 bytes; {longest}s has 108."
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"; {tmp_path}/s+ has 108"):
        Config.from_environ({"STOWAGE_BIND": f"unix:{'s' * (107 - len(str(tmp_path)))}"})


@pytest.fixture
def certificates(tmp_path: Path) -> dict[str, str]:
    """Three files where certificates would be."""
    names = {name: tmp_path / name for name in ("CERT", "KEY", "CA")}
    for path in names.values():
        path.touch()
    return {f"STOWAGE_TLS_{name}": str(path) for name, path in names.items()}


def test_a_public_address_needs_verified_clients_or_a_word(certificates: dict[str, str]) -> None:
    public = {"STOWAGE_BIND": "0.0.0.0:2376"}
    assert Config.from_environ(public | certificates).tls
    assert not Config.from_environ(public | {"STOWAGE_ALLOW_INSECURE_TCP": "1"}).tls
    with pytest.raises(ConfigError, match="can be reached from other machines"):
        Config.from_environ(public)


@pytest.mark.parametrize("missing", ["STOWAGE_TLS_CERT", "STOWAGE_TLS_KEY", "STOWAGE_TLS_CA"])
def test_half_a_tls_configuration_is_refused(certificates: dict[str, str], missing: str) -> None:
    del certificates[missing]
    with pytest.raises(ConfigError, match="must be set together"):
        Config.from_environ(certificates)


def test_a_setting_is_named_as_its_field() -> None:
    named_otherwise = {field: setting.name for field, setting in SETTINGS.items() if setting.name != f"STOWAGE_{field.upper()}"}
    assert named_otherwise == {"database": "STOWAGE_DATABASE_URL", "content": "STOWAGE_CONTENT_URL"}


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", {"fpu"}, "linux/amd64"),
        ("x86_64", {"pni", "ssse3", "cx16", "sse4_1", "sse4_2", "popcnt", "lahf_lm"}, "linux/amd64/v2"),
        ("aarch64", {"fp", "asimd"}, "linux/arm64/v8"),
    ],
)
def test_the_default_platform_is_the_hosts(monkeypatch: pytest.MonkeyPatch, machine: str, flags: set[str], expected: str) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("stowage.app.setting_fields.read_flags", lambda: frozenset(flags))
    assert str(Config.from_environ({}).platform) == expected


def test_an_address_has_one_purpose() -> None:
    with pytest.raises(ConfigError, match=r"^STOWAGE_HEALTH_BIND: 127\.0\.0\.1:1 is also an address of STOWAGE_BIND\.$"):
        Config.from_environ({"STOWAGE_BIND": "127.0.0.1:1", "STOWAGE_HEALTH_BIND": "127.0.0.1:1"})


@pytest.mark.parametrize(
    ("binds", "health", "setting", "sentence"),
    [
        ("127.0.0.1:1", "0.0.0.0:1", "STOWAGE_HEALTH_BIND", "0.0.0.0:1 stands for every address, 127.0.0.1:1 too"),
        ("127.0.0.1:2,0.0.0.0:1", "localhost:1", "STOWAGE_HEALTH_BIND", "0.0.0.0:1 stands for every address, localhost:1 too"),
        ("[::]:1", "127.0.0.1:1", "STOWAGE_HEALTH_BIND", "[::]:1 stands for every address, 127.0.0.1:1 too"),
        ("[::1]:1,[::]:1", "", "STOWAGE_BIND", "[::]:1 stands for every address, [::1]:1 too"),
    ],
)
def test_a_wildcard_and_one_of_its_addresses_need_two_ports(binds: str, health: str, setting: str, sentence: str) -> None:
    environ = {"STOWAGE_BIND": binds, "STOWAGE_HEALTH_BIND": health, "STOWAGE_ALLOW_INSECURE_TCP": "1"}
    with pytest.raises(ConfigError) as refused:
        Config.from_environ(environ)
    assert str(refused.value) == f"{setting}: {sentence}; give one of them another port."


@pytest.mark.parametrize("health", ["0.0.0.0:2", "[::1]:1", "unix:health.sock", "0.0.0.0:0"])
def test_other_addresses_beside_a_wildcard_are_accepted(health: str) -> None:
    environ = {"STOWAGE_BIND": "0.0.0.0:1", "STOWAGE_HEALTH_BIND": health, "STOWAGE_ALLOW_INSECURE_TCP": "1"}
    assert len(Config.from_environ(environ).health_bind) == 1
