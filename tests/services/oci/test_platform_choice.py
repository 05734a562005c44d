"""Which manifests of an index are for a platform, which is the best, and which attestations go with them."""

from __future__ import annotations

import pytest

from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform, PlatformMatcher
from stowage.services.oci.platform_choice import choose_manifests, wanted_manifests


def listed(name: str, platform: str = "", *, about: str = "", media_type: str = mediatypes.OCI_MANIFEST) -> Descriptor:
    annotations = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": str(Digest.of(about.encode()))}
    found = Platform.parse(platform) if platform else None
    return Descriptor(media_type, Digest.of(name.encode()), 1, annotations=annotations if about else {}, platform=found)


AMD64, ARM64, ARM_V6, ARM_V7 = (
    listed("amd64", "linux/amd64"),
    listed("arm64", "linux/arm64"),
    listed("v6", "linux/arm/v6"),
    listed("v7", "linux/arm/v7"),
)
ANY = listed("any")
OF_AMD64 = listed("attestation", "unknown/unknown", about="amd64")
LATER_OF_AMD64 = listed("later attestation", "unknown/unknown", about="amd64")
INDEX_OF_AMD64 = listed("attestations", "unknown/unknown", about="amd64", media_type=mediatypes.OCI_INDEX)
NESTED = listed("nested", "linux/amd64", media_type=mediatypes.OCI_INDEX)
BLOB = listed("blob", media_type="application/octet-stream")


@pytest.mark.parametrize(
    ("children", "platform", "expected"),
    [
        pytest.param([ARM64, AMD64], "linux/amd64", [AMD64], id="the one for the platform"),
        pytest.param([ARM64], "linux/amd64", [], id="none"),
        pytest.param([ARM_V6, ARM_V7], "linux/arm/v7", [ARM_V7], id="the best variant"),
        pytest.param([ARM_V6, AMD64], "linux/arm/v7", [ARM_V6], id="a variant that runs there"),
        pytest.param([ANY, AMD64], "linux/amd64", [AMD64], id="one that says its platform comes first"),
        pytest.param([ARM64, ANY], "linux/amd64", [ANY], id="one without a platform fits any"),
        pytest.param([AMD64, listed("second", "linux/amd64")], "linux/amd64", [AMD64], id="the first of equals"),
        pytest.param([OF_AMD64, AMD64, ARM64], "linux/amd64", [AMD64, OF_AMD64], id="its attestation"),
        pytest.param([OF_AMD64, AMD64, ARM64], "linux/arm64", [ARM64], id="not another's attestation"),
        pytest.param([AMD64, OF_AMD64, LATER_OF_AMD64], "linux/amd64", [AMD64, LATER_OF_AMD64], id="the last attestation"),
        pytest.param([NESTED], "linux/amd64", [NESTED], id="a nested index"),
        pytest.param([BLOB], "linux/amd64", [], id="neither manifest nor index"),
        pytest.param([], "linux/amd64", [], id="an empty index"),
    ],
)
def test_the_best_manifest_and_its_attestation_are_chosen(children: list[Descriptor], platform: str, expected: list[Descriptor]) -> None:
    assert list(choose_manifests(children, PlatformMatcher.only(Platform.parse(platform)))) == expected


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        pytest.param([ARM64, ANY, AMD64, ARM_V7], [ANY, AMD64], id="all that fit"),
        pytest.param([OF_AMD64, AMD64, ARM64, LATER_OF_AMD64], [AMD64, LATER_OF_AMD64], id="the last attestation"),
        pytest.param([ARM64, OF_AMD64], [], id="no attestation alone"),
        pytest.param([ARM64, listed("of arm64", "unknown/unknown", about="arm64")], [], id="not another's attestation"),
        pytest.param([AMD64, INDEX_OF_AMD64], [AMD64], id="an index attests nothing"),
    ],
)
def test_all_manifests_for_the_platform_and_their_attestations_are_wanted(children: list[Descriptor], expected: list[Descriptor]) -> None:
    assert wanted_manifests(children, PlatformMatcher.only(Platform.parse("linux/amd64"))) == expected
