"""What there is to choose from, and the service's own description."""

import pytest

from core.family import members

PATHS = {
    "datasets": "core.datasets",
    "models/architectures": "core.models",
    "objectives": "core.objectives",
    "sparsifiers": "core.sparsifiers",
    "attacks": "core.attacks",
    "exporters": "core.exporters",
}


@pytest.mark.parametrize("path", PATHS)
def test_every_member_is_listed_with_its_schema_and_a_valid_example(api, path: str) -> None:
    items = {item["name"]: item for item in api.get(f"/api/v1/{path}").json()["items"]}
    found = members(PATHS[path])
    assert items.keys() == found.keys()
    for name, item in items.items():
        assert item["doc"]
        assert item["settings"]["properties"]["name"]["const"] == name
        found[name].model_validate(item["example"])


def test_the_openapi_document_holds_the_job_specification(api) -> None:
    document = api.get("/api/v1/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    schema = document["components"]["schemas"]["JobSpec"]
    assert "sparsifier" in schema["properties"]
    submit = document["paths"]["/api/v1/jobs"]["post"]
    assert set(submit["requestBody"]["content"]) == {"application/json", "application/yaml"}


def test_the_schema_of_a_job_is_served(api) -> None:
    assert api.get("/api/v1/schema").json()["properties"]["threat"]


def test_health_readiness_and_versions_are_told(api) -> None:
    assert api.get("/api/v1/healthz").json()["status"] == "ok"
    ready = api.get("/api/v1/readyz")
    assert (ready.status_code, ready.json()["checks"]) == (200, {"database": True, "broker": True})
    assert api.get("/api/v1/version").json()["sparring"]


def test_no_worker_has_been_seen_yet(api) -> None:
    assert api.get("/api/v1/workers").json() == {"items": []}
