"""GET /version."""

from flask.testing import FlaskClient

from stowage.services.system.version import VERSION


def test_version_tells_the_range_of_versions(client: FlaskClient) -> None:
    version = client.get("/v1.45/version").get_json()
    assert (version["ApiVersion"], version["MinAPIVersion"], version["Version"]) == ("1.56", "1.24", VERSION)
    assert version["Platform"] == {"Name": "Stowage"}
    engine = version["Components"][0]
    assert (engine["Name"], engine["Details"]["ApiVersion"], engine["Details"]["Experimental"]) == ("Engine", "1.56", "false")
