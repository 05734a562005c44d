"""Docker's own kinds of parameters."""

from __future__ import annotations

import pytest

from stowage.blueprints.schemas.base import QuerySchema
from stowage.blueprints.schemas.fields import Bytes, DockerBool, FiltersField, PlatformJson, PlatformList, PlatformSpecifier
from stowage.blueprints.versioning import MAX_API_VERSION
from stowage.services.errors import InvalidParameter
from stowage.services.oci.platform import Platform


class Query(QuerySchema):
    size = Bytes(load_default=None)
    flag = DockerBool(load_default=False)
    filters = FiltersField()
    specifier = PlatformSpecifier(load_default=None)
    platform = PlatformJson(load_default=None)
    platforms = PlatformList()


def load(**given: object) -> dict[str, object]:
    return dict(Query.at(MAX_API_VERSION).load(given))


@pytest.mark.parametrize("text", ["", "0", "no", "No", "false", "FALSE", "none", " 0 ", "\tfalse\n"])
def test_docker_takes_these_for_false(text: str) -> None:
    assert load(flag=text)["flag"] is False


@pytest.mark.parametrize("text", ["1", "true", "yes", "banana", "2", "-1", "f", "n", "null", "off"])
def test_docker_takes_anything_else_for_true(text: str) -> None:
    assert load(flag=text)["flag"] is True


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("5", 5),
        ("5B", 5),
        ("500MB", 500_000_000),
        ("500 m", 500_000_000),
        ("1.5GB", 1_500_000_000),
        ("1GiB", 1 << 30),
        ("0.5kib", 512),
        ("2Ti", 2 << 40),
    ],
)
def test_a_size_is_in_decimal_units_or_with_an_i_in_binary_ones(text: str, size: int) -> None:
    assert load(size=text)["size"] == size


@pytest.mark.parametrize("text", ["", "GB", "1iB", "1GiBB", "-1", "1e9", "1 G B"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="size must be a size such as"):
        load(size=text)


def test_filters_come_in_both_encodings_and_may_be_absent() -> None:
    assert load(filters='{"label":{"a":true,"b":true}}') == load(filters='{"label":["a","b"]}')
    assert load(filters="") == load()


def test_filters_that_are_no_filters_are_refused() -> None:
    with pytest.raises(InvalidParameter, match=r"^invalid filter$"):
        load(filters="banana")


def test_a_platform_is_a_specifier_or_json() -> None:
    arm = Platform(os="linux", architecture="arm", variant="v7")
    assert load(specifier="linux/arm/v7")["specifier"] == arm
    assert load(platform='{"os":"linux","architecture":"arm","variant":"v7"}')["platform"] == arm
    assert load(specifier="", platform="") == load()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("linux/amd64", "failed to parse platform", id="specifier"),
        pytest.param("[]", "failed to parse platform", id="list"),
        pytest.param("{}", "both OS and Architecture must be provided", id="empty"),
        pytest.param("null", "both OS and Architecture must be provided", id="null"),
        pytest.param('{"os":"linux"}', "both OS and Architecture must be provided", id="half"),
        pytest.param('{"variant":"v7"}', "optional platform fields provided, but OS and Architecture are missing", id="variant alone"),
    ],
)
def test_a_platform_that_is_no_platform_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        load(platform=text)


def test_a_platform_of_a_list_is_kept_once_and_there_are_not_too_many() -> None:
    several = [f'{{"os":"linux","architecture":"a{number % 50}"}}' for number in range(100)]
    assert len(load(platforms=several)["platforms"]) == 50  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter, match="^51 platforms, of which a request may name at most 50$"):
        load(platforms=[*several, '{"os":"linux","architecture":"b"}'])


def test_each_platform_of_a_list_must_be_one() -> None:
    assert load(platforms=['{"os":"linux","architecture":"arm"}'])["platforms"] == [Platform(os="linux", architecture="arm")]
    with pytest.raises(InvalidParameter, match="failed to parse platform"):
        load(platforms=[""])
