"""Pooled connections."""

from __future__ import annotations

import pytest

from stowage.services.registry.certs import SYSTEM_TRUST
from stowage.services.registry.pools import Pools
from stowage.services.registry.proxies import Proxies


def test_a_connection_that_is_not_kept_after_a_burst_leaves_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    url = "http://localhost:1/"
    pool = Pools(Proxies()).get(url, SYSTEM_TRUST, insecure=True).connection_from_url(url)
    for _ in range(20):
        pool._put_conn(None)
    assert caplog.text == ""
