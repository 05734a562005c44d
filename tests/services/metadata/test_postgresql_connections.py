"""Connections to PostgreSQL: every way to say where and as whom, and a sentence for each that does not work."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from stowage.services.errors import EngineError, InvalidParameter, Unavailable, Unsupported
from stowage.services.metadata import bounded_connection
from stowage.services.metadata.store import is_current, upgrade
from tests.engines import PLATFORM, metadata_store
from tests.ports import free_port
from tests.postgresql import Cluster, as_postgres, running_cluster, wait_until

PASSWORD = "s3cr:t,@ /"
QUOTED = "s3cr%3At%2C%40%20%2F"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A server with a user that needs a password, and with databases that do not fit."""
    with running_cluster(port=free_port()) as running:
        access = running.folder / "data/pg_hba.conf"
        access.write_text(f"host all stowage 127.0.0.1/32 scram-sha-256\n{access.read_text()}")
        running.execute("SELECT pg_reload_conf()")
        running.execute(f"CREATE ROLE stowage LOGIN PASSWORD '{PASSWORD}'")
        running.execute("CREATE DATABASE stowage OWNER stowage")
        running.execute("CREATE DATABASE latin ENCODING LATIN1 LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0")
        upgrade(f"postgresql://stowage:{QUOTED}@127.0.0.1:{running.port}/stowage", PLATFORM)
        yield running


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PGPASSWORD", "PGPASSFILE", "PGSERVICEFILE", "PGHOST", "PGPORT", "PGUSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


class TestWays:
    @pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
    def test_a_url(self, cluster: Cluster, scheme: str) -> None:
        assert is_current(f"{scheme}://stowage:{QUOTED}@127.0.0.1:{cluster.port}/stowage", PLATFORM)

    def test_the_password_in_the_environment(self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PGPASSWORD", PASSWORD)
        assert is_current(f"postgresql://stowage@127.0.0.1:{cluster.port}/stowage", PLATFORM)

    def test_a_password_file(self, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "passwords"
        file.write_text(f"127.0.0.1:{cluster.port}:stowage:stowage:{PASSWORD.replace(':', chr(92) + ':')}\n")
        file.chmod(0o600)
        monkeypatch.setenv("PGPASSFILE", str(file))
        assert is_current(f"postgresql://stowage@127.0.0.1:{cluster.port}/stowage", PLATFORM)

    def test_a_service_file(self, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "services"
        file.write_text(f"[images]\nhost=127.0.0.1\nport={cluster.port}\nuser=stowage\ndbname=stowage\npassword={PASSWORD}\n")
        monkeypatch.setenv("PGSERVICEFILE", str(file))
        assert is_current("postgresql:///?service=images", PLATFORM)

    def test_several_hosts_of_which_one_can_be_written_to(self, cluster: Cluster) -> None:
        hosts = f"127.0.0.1:{free_port()},127.0.0.1:{cluster.port}"
        assert is_current(f"postgresql://stowage:{QUOTED}@{hosts}/stowage?target_session_attrs=read-write", PLATFORM)


class TestRefusals:
    @pytest.mark.parametrize(
        ("url", "error", "sentence"),
        [
            pytest.param("stowage:wrong@127.0.0.1:{port}/stowage", Unavailable, "password authentication failed", id="password"),
            pytest.param("stowage:{password}@127.0.0.1:{free}/stowage", Unavailable, "[Cc]onnection refused", id="port"),
            pytest.param("stowage:{password}@nowhere.invalid/stowage", Unavailable, "nowhere.invalid", id="host"),
            pytest.param("stowage:{password}@127.0.0.1:{port}/nothing", Unavailable, 'database "nothing" does not exist', id="database"),
            pytest.param("stowage:{password}@127.0.0.1:{port}/latin", Unsupported, "encoding UTF8, not LATIN1", id="encoding"),
            pytest.param("stowage:{password}@127.0.0.1:port/stowage", Unavailable, "invalid integer value", id="no port"),
            pytest.param("stowage:{password}%zz@127.0.0.1:{port}/stowage", InvalidParameter, "not one of PostgreSQL", id="percent sign"),
            pytest.param("stowage:{password}@127.0.0.1:{port}/stowage?x=1", InvalidParameter, "not one of PostgreSQL", id="parameter"),
        ],
    )
    def test_a_sentence_without_the_password(self, cluster: Cluster, url: str, error: type[EngineError], sentence: str) -> None:
        filled = url.format(port=cluster.port, free=free_port(), password=QUOTED)
        with pytest.raises(error, match=sentence) as caught:
            is_current(f"postgresql://{filled}", PLATFORM)
        each: BaseException | None = caught.value
        while each is not None:
            assert "s3cr" not in str(each)
            assert "\n" not in str(each) or each is not caught.value
            each = each.__cause__ or each.__context__

    def test_a_server_that_is_too_old(self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bounded_connection, "_LEAST_VERSION", 99)
        with pytest.raises(Unsupported, match="PostgreSQL 99 or newer is needed; the server has 1"):
            is_current(cluster.url("stowage"), PLATFORM)

    def test_a_user_who_may_not_create_tables(self, cluster: Cluster) -> None:
        cluster.create_database("guarded")
        cluster.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC", "guarded")
        with pytest.raises(EngineError, match="permission denied for schema public"):
            upgrade(f"postgresql://stowage:{QUOTED}@127.0.0.1:{cluster.port}/guarded", PLATFORM)
        cluster.drop_database("guarded")


class TestPooler:
    def test_pgbouncer_in_transaction_mode_is_refused(self, cluster: Cluster, tmp_path: Path) -> None:
        with pgbouncer(cluster, "transaction") as url, pytest.raises(Unsupported, match="pool_mode = session"):
            is_current(url, PLATFORM)

    def test_pgbouncer_in_session_mode_works(self, cluster: Cluster, tmp_path: Path) -> None:
        with pgbouncer(cluster, "session") as url:
            assert is_current(url, PLATFORM)
            with closing(metadata_store(url, place="here")) as store, store.write() as tx:
                assert tx.graph.all_blobs() == {}


@contextmanager
def pgbouncer(cluster: Cluster, mode: str) -> Iterator[str]:
    """A pooler before the server, and the URL of a database behind it."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    port, file = free_port(), cluster.folder / f"pgbouncer-{mode}.ini"
    file.write_text(
        f"[databases]\nstowage = host={cluster.folder} port={cluster.port} user=postgres\n[pgbouncer]\npool_mode = {mode}\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\nunix_socket_dir =\nserver_tls_sslmode = disable\n"
    )
    with (cluster.folder / "pgbouncer.log").open("ab") as log:
        process = subprocess.Popen([program, str(file)], stdout=log, stderr=log, **as_postgres())
    try:
        url = f"postgresql://postgres@127.0.0.1:{port}/stowage"
        wait_until(lambda: psycopg.connect(url).close())
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
