"""Who may serve where."""

from __future__ import annotations

import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from stowage.app.server.arbiter import Arbiter
from stowage.app.server.serving import _check_tls, _count_once, _free_address, _free_socket, _keep_alive, _settings
from stowage.app.setting_fields import Bind
from stowage.app.settings import Config, ConfigError
from stowage.services.engine import Engine
from stowage.services.errors import Internal
from stowage.services.filters import Filters
from stowage.services.images.list import list_images
from stowage.services.tcp_keepalive import KEEPALIVE
from tests.fake_registry.server import CERTIFICATE
from tests.rows import add_image


def test_a_socket_that_somebody_listens_on_is_left_to_them(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(ConfigError, match="another service is listening"):
            _free_socket(path, "STOWAGE_BIND")
    _free_socket(path, "STOWAGE_BIND")


def test_a_file_in_the_place_of_a_socket_is_left_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="is not a socket"):
        _free_socket(path, "STOWAGE_BIND")
    assert path.read_text() == "precious"


def test_the_folder_of_a_socket_is_made(tmp_path: Path) -> None:
    _free_socket(tmp_path / "a" / "b" / "s.sock", "STOWAGE_BIND")
    assert (tmp_path / "a" / "b").is_dir()


def test_the_server_is_told_the_settings(tmp_path: Path) -> None:
    config = Config.from_environ({"STOWAGE_BIND": f"unix:{tmp_path}/s.sock,127.0.0.1:0", "STOWAGE_WORKERS": "3", "STOWAGE_THREADS": "5"})
    settings = _settings(config)
    assert settings["bind"] == [f"unix:{tmp_path}/s.sock", "127.0.0.1:0"]
    assert (settings["workers"], settings["threads"], settings["umask"]) == (3, 5, 0o177)
    assert settings["control_socket_disable"] is True
    assert "certfile" not in settings


def test_connections_over_tcp_are_kept_alive_as_the_socket_that_they_come_in_at(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as local:
        local.bind(str(tmp_path / "s.sock"))
        listeners = [SimpleNamespace(sock=listener), SimpleNamespace(sock=local)]
        _keep_alive(cast(Arbiter, SimpleNamespace(LISTENERS=listeners)))
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            for level, option, value in KEEPALIVE:
                assert accepted.getsockopt(level, option) == value


def test_workers_inherit_no_connection_of_the_parent(engine: Engine, tmp_path: Path) -> None:
    _count_once(engine)
    assert not [path for path in map(os.path.realpath, Path("/proc/self/fd").iterdir()) if path.startswith(str(tmp_path))]
    with engine.metadata.write() as tx:
        add_image(tx, "new", name="docker.io/library/new:1")
    assert [image.repo_tags for image in list_images(engine, filters=Filters())] == [("new:1",)]


def test_a_damaged_store_is_for_the_requests_to_tell(engine: Engine, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "root" / "stowage.db")) as database:
        database.executescript("DROP TABLE target_label; DROP TABLE target")
    _count_once(engine)
    with pytest.raises(Internal, match="no such table: target"):
        list_images(engine, filters=Filters())


def test_an_address_that_is_taken_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = Bind.parse(f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ConfigError, match=rf"STOWAGE_BIND: cannot listen on {bind}: Address already in use\."):
            _free_address(bind, "STOWAGE_BIND")
    _free_address(bind, "STOWAGE_BIND")


@pytest.mark.parametrize("wrong", ["STOWAGE_TLS_CERT", "STOWAGE_TLS_CA"])
def test_files_that_are_no_certificates_are_refused(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "text").write_text("no certificate")
    files = dict.fromkeys(("STOWAGE_TLS_CERT", "STOWAGE_TLS_KEY", "STOWAGE_TLS_CA"), str(CERTIFICATE))
    _check_tls(Config.from_environ(files))
    with pytest.raises(ConfigError, match=wrong):
        _check_tls(Config.from_environ({**files, wrong: str(tmp_path / "text")}))
