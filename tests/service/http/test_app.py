"""Routes other than POST /generate, the problem form, and what holds for every answer."""

from __future__ import annotations

import httpx
import pytest

from tests.service.running import Running


def assert_problem(response: httpx.Response, status: int, slug: str) -> dict[str, object]:
    """The answer is a whole RFC 9457 document."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, object] = response.json()
    assert body["status"] == status
    assert body["type"] == f"urn:dit-serve:problem:{slug}"
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == response.headers["x-request-id"]
    return body


def test_livez_answers(client: httpx.Client) -> None:
    assert client.get("/livez").json() == {"status": "alive"}


def test_readyz_names_the_models(client: httpx.Client) -> None:
    assert client.get("/readyz").json() == {"status": "ready", "models": ["fake-64", "fake-128"], "missing": {}}


def test_root_links_to_every_route(client: httpx.Client) -> None:
    document = client.get("/").json()
    links = [value for value in document.values() if isinstance(value, dict)]
    for link in links:
        assert client.request(link["method"], link["href"]).status_code not in (404, 405), link
    described = {path for path in client.get("/openapi.json").json()["paths"] if "{" not in path}
    assert described <= {link["href"].split("?")[0] for link in links} | {"/"}


def test_models_lists_the_default_first(client: httpx.Client) -> None:
    models = client.get("/v1/models").json()["models"]
    assert [(model["name"], model["resolution"], model["is_default"]) for model in models] == [
        ("fake-64", 64, True),
        ("fake-128", 128, False),
    ]
    assert models[0]["samplers"] == ["ddim", "ddpm", "dpm++"]


def test_classes_lists_all_without_a_query(client: httpx.Client) -> None:
    assert len(client.get("/v1/classes").json()["classes"]) == 100


@pytest.mark.parametrize("query", ["class 42", "KIND 42", "42"])
def test_classes_finds_names_in_any_case_and_ids(client: httpx.Client, query: str) -> None:
    found = client.get("/v1/classes", params={"q": query}).json()["classes"]
    assert found == [{"class_id": 42, "names": ["class 42", "kind 42"]}]


def test_classes_of_an_absent_resolution_is_refused(client: httpx.Client) -> None:
    body = assert_problem(client.get("/v1/classes?resolution=99"), 422, "invalid-request")
    assert "64 (fake-64), 128 (fake-128)" in str(body["detail"])


def test_a_wrong_query_parameter_is_not_repeated(client: httpx.Client) -> None:
    response = client.get("/v1/classes?resolution=secret")
    assert_problem(response, 422, "invalid-request")
    assert "secret" not in response.text


def test_an_unknown_path_is_404(client: httpx.Client) -> None:
    response = client.get("/no/such/secret")
    assert_problem(response, 404, "not-found")
    assert "secret" not in response.text


def test_a_wrong_method_is_405_with_allow(client: httpx.Client) -> None:
    response = client.get("/generate")
    assert_problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "POST"


def test_docs_are_served(client: httpx.Client) -> None:
    assert client.get("/docs").status_code == 200


def test_a_harmless_request_id_is_echoed(client: httpx.Client) -> None:
    assert client.get("/livez", headers={"X-Request-Id": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"


@pytest.mark.parametrize("sent", [b"", b"a b", b"x" * 65, b'a"b', "é".encode(), b"a\tb"])
def test_any_other_request_id_is_replaced(client: httpx.Client, sent: bytes) -> None:
    made = client.get("/livez", headers={b"X-Request-Id": sent}).headers["x-request-id"]
    assert made.encode() != sent
    assert len(made) == 32


def test_every_request_is_logged_on_one_line_with_its_id(fake_server: Running, client: httpx.Client) -> None:
    client.get("/v1/models", headers={"X-Request-Id": "to-be-found"})
    line = fake_server.wait_for(lambda line: line.get("request_id") == "to-be-found")
    assert (line["event"], line["method"], line["path"], line["status"]) == ("request", "GET", "/v1/models", 200)


def test_health_is_readyz(client: httpx.Client) -> None:
    assert client.get("/health").json() == client.get("/readyz").json()


def test_head_is_get_without_its_body_on_every_route(client: httpx.Client) -> None:
    links = [link for link in client.get("/").json().values() if isinstance(link, dict)]
    for path in ["/", "/favicon.ico", *(link["href"] for link in links)]:
        got, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers.keys() == got.headers.keys()
        assert head.headers.get("content-length") == got.headers.get("content-length")


def test_allow_tells_of_head(client: httpx.Client) -> None:
    assert client.post("/livez").headers["allow"] == "GET, HEAD"


def test_a_request_whose_jobs_are_logged_has_no_line_of_its_own(fake_server: Running, client: httpx.Client) -> None:
    body = {"class_id": 1, "steps": 2}
    assert client.post("/generate", json=body, headers={"X-Request-Id": "an-image"}).status_code == 200
    assert client.post("/generate", json={}, headers={"X-Request-Id": "no-image"}).status_code == 422
    fake_server.wait_for(lambda line: line.get("request_id") == "no-image")
    told = [line["event"] for line in fake_server.seen if line.get("request_id") == "an-image"]
    assert told == ["job_end"]


def test_probes_and_the_pages_files_are_not_logged(fake_server: Running, client: httpx.Client) -> None:
    for path in ("/livez", "/readyz", "/health", "/web/app.js"):
        assert client.get(path, headers={"X-Request-Id": "a-probe"}).status_code == 200
    client.get("/v1/models", headers={"X-Request-Id": "after-the-probes"})
    fake_server.wait_for(lambda line: line.get("request_id") == "after-the-probes")
    assert "a-probe" not in [line.get("request_id") for line in fake_server.seen]


def test_openapi_documents_the_errors_and_an_example(client: httpx.Client) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/generate"]["post"]
    assert set(operation["responses"]) == {
        "200", "400", "401", "406", "413", "415", "422", "429", "500", "503", "504",
    }
    assert set(operation["responses"]["200"]["content"]) == {"image/png", "application/json", "text/event-stream"}
    assert "application/problem+json" in operation["responses"]["429"]["content"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert "class_id" in schema["examples"][0]
    assert set(schema["properties"]) == {
        "class_id", "class", "cfg", "guidance_scale", "steps", "num_inference_steps", "seed", "model", "resolution",
        "sampler", "n", "deadline_ms", "preview_every",
    }
    assert schema["oneOf"] == [
        {"required": ["class_id"], "properties": {"class_id": {"type": "integer"}}},
        {"required": ["class"], "properties": {"class": {"type": "string"}}},
    ]
    assert {"not": {"required": ["cfg", "guidance_scale"]}} in schema["allOf"]
    assert {"Retry-After", "Retry-After-Ms"} == operation["responses"]["429"]["headers"].keys()
    assert [parameter["name"] for parameter in operation["parameters"]] == ["X-Deadline-Ms"]
