"""Schemathesis asks a running service what its own OpenAPI description says can be asked, and holds the answers against that
description.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from tests.builders import make_tar, simple_layout
from tests.conformance.conftest import Service, needs
from tests.ports import free_port

ASK_ELSEWHERE = r"^/(distribution/.*|images/search|images/create|images/\{name\}/push|auth)$"
"""Operations that ask a registry, whose address would be made of random text."""
UNENDING = "/events"
CHECKS = [content_type_conformance, response_schema_conformance, status_code_conformance]
BROKEN = (500, 502, 504)
"""501 and 503 are answers: there is no such thing here, or no swarm."""

schemathesis.openapi.media_type("application/x-tar", st.sampled_from([b"", b"no archive", make_tar({"etc/motd": b"hello\n"})]))


@pytest.fixture(scope="module")
def service_with_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that has simple:latest."""
    needs("docker")
    service = Service(tmp_path_factory.mktemp("openapi") / "stowage", free_port())
    service.start()
    service.docker("load", stdin=simple_layout().to_tar())
    yield service
    service.stop()


@pytest.fixture(scope="module")
def described(service_with_image: Service) -> BaseSchema:
    """The description that the service serves."""
    address = f"http://127.0.0.1:{service_with_image.port}"
    loaded = schemathesis.openapi.from_url(f"{address}/openapi.json")
    loaded.config.update(base_url=f"{address}/v1.56")
    return loaded


def ask(operation: APIOperation[Any, Any, Any, Any]) -> None:
    """Send generated requests, and each again about the image that is there unless it could remove it."""

    @settings(
        max_examples=5, deadline=None, database=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy())
    def answers_are_as_described(case: Case[Any]) -> None:
        named = "name" in (case.path_parameters or {}) and case.method != "DELETE"
        for name in (None, "simple:latest") if named else (None,):
            if name:
                case.path_parameters["name"] = name
            response = case.call_and_validate(checks=CHECKS, timeout=20)
            assert response.status_code not in BROKEN, response.text

    answers_are_as_described()


def test_every_operation_answers_as_described(described: BaseSchema) -> None:
    asked = described.exclude(path_regex=ASK_ELSEWHERE).exclude(path=UNENDING)
    failures = {}
    operations = [result.ok() for result in asked.get_all_operations() if isinstance(result, Ok)]
    assert len(operations) > 100
    for operation in operations:
        try:
            ask(operation)
        except (AssertionError, BaseExceptionGroup) as failure:
            failures[operation.label] = str(failure)
    assert failures == {}
