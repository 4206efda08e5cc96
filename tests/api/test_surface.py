"""The API as it was specified: every route is there, or is said to come later and with what."""

import re

from api.app import BASE, site

SPECIFIED = """
POST GET /jobs
GET PATCH DELETE /jobs/{id}
POST /jobs/{id}/cancel /jobs/{id}/pause /jobs/{id}/resume /jobs/{id}/requeue /jobs/{id}/clone
GET /jobs/{id}/spec /jobs/{id}/explain /jobs/{id}/attempts /jobs/{id}/events /jobs/{id}/logs /jobs/{id}/metrics
GET /jobs/{id}/artifacts /jobs/{id}/bundle
POST /jobs/batch
POST GET /sweeps
GET /sweeps/{id} /sweeps/{id}/results /sweeps/{id}/pareto
POST /sweeps/{id}/pause /sweeps/{id}/resume /sweeps/{id}/cancel
POST /evaluations
GET /evaluations/{id} /evaluations/{id}/samples /evaluations/{id}/audit /evaluations/{id}/curve
POST GET /models
GET /models/{id}
POST /datasets/{name}/fetch
GET /datasets /models/architectures /objectives /sparsifiers /attacks /exporters /presets
GET /presets/{id} /presets/{id}/scorecard
POST /presets/{id}/run
POST /results/query /results/pareto /results/leaderboard /tables
GET /tables/{id}.{form}
GET PATCH /queues/{q}
POST /queues/{q}/pause /queues/{q}/resume /queues/{q}/drain
GET /workers /usage
POST /workers/{id}/drain /workers/{id}/undrain
GET /me /users /projects /tokens /quotas
POST GET /webhooks
GET PATCH DELETE /webhooks/{id}
GET /webhooks/{id}/deliveries
POST /webhooks/{id}/test /webhooks/{id}/deliveries/{d}/redeliver
GET /healthz /readyz /version /metrics /events
"""
"""Methods, then the paths that have them."""

LATER = {
    "issues 7 and 9": """
        POST GET /sweeps
        GET /sweeps/{id} /sweeps/{id}/results /sweeps/{id}/pareto
        POST /sweeps/{id}/pause /sweeps/{id}/resume /sweeps/{id}/cancel
        POST /results/query /results/pareto /results/leaderboard /tables
        GET /tables/{id}.{form} /jobs/{id}/bundle
        POST GET /models
        GET /models/{id}
    """,
}
"""What brings the routes that are missing."""
ROUTES = set[tuple[str, str]]


def named(text: str) -> ROUTES:
    """Method and path of each, whatever a path calls its parameters."""
    found: ROUTES = set()
    for line in text.strip().splitlines():
        words = line.split()
        paths = [re.sub(r"\{\w+\}", "{}", word) for word in words if word.startswith("/")]
        found |= {(method, path) for method in words if not method.startswith("/") for path in paths}
    return found


def there() -> ROUTES:
    """What the OpenAPI document has."""
    paths = site.openapi()["paths"]
    return named("\n".join(f"{' '.join(methods).upper()} {path.removeprefix(BASE)}" for path, methods in paths.items()))


def later() -> ROUTES:
    return set().union(*map(named, LATER.values()))


def test_every_route_that_was_specified_is_there_or_comes_later() -> None:
    assert named(SPECIFIED) - there() - later() == set()


def test_what_comes_later_is_not_there_yet_and_was_specified() -> None:
    assert later() & there() == set()
    assert later() - named(SPECIFIED) == set()


def test_the_table_is_read_as_it_is_meant() -> None:
    assert named("GET PATCH /jobs/{id}\nPOST /a /b/{x}.{y}") == {
        ("GET", "/jobs/{}"),
        ("PATCH", "/jobs/{}"),
        ("POST", "/a"),
        ("POST", "/b/{}.{}"),
    }
