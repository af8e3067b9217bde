"""compose.yaml is what the Compose Specification allows, and agrees with itself and the files beside it."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.asgi.server import ROOT
from tests.compose.topology import COMPOSE, DOCKER, services

SCHEMA = Path(__file__).parent / "schema" / "compose-spec.json"


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft7Validator:
    """The Compose Specification's own schema."""
    return jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()))


def test_schema(validator: jsonschema.Draft7Validator) -> None:
    """The file is valid."""
    assert [error.message for error in validator.iter_errors(yaml.safe_load(COMPOSE.read_text()))] == []


@pytest.mark.parametrize(
    ("service", "key", "value"),
    [("php", "helthcheck", {}), ("php", "ports", "9000"), ("nginx", "depends_on", {"php": {"condition": "healthy"}})],
)
def test_schema_finds_faults(validator: jsonschema.Draft7Validator, service: str, key: str, value: Any) -> None:
    """A misspelt key, a wrong type and an unknown condition are faults."""
    spoilt = copy.deepcopy(yaml.safe_load(COMPOSE.read_text()))
    spoilt["services"][service][key] = value
    assert not validator.is_valid(spoilt)


def test_mounts_and_copies_are_there() -> None:
    """Files that are mounted or copied exist, volumes are declared, and who is waited for has a health check."""
    found = services()
    volumes = yaml.safe_load(COMPOSE.read_text())["volumes"]
    for service in found.values():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in volumes
        for other in service.get("depends_on", {}):
            assert "healthcheck" in found[other]
    copied = re.findall(r"^COPY (.*) \S+$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    assert copied
    assert all((ROOT / source).exists() for sources in copied for source in sources.split())


def test_the_service_knows_its_pool() -> None:
    """Both know the same number of workers, and each process of the service has one at least."""
    pool, service = services()["php"]["environment"], services()["service"]["environment"]
    assert pool["FPM_MAX_CHILDREN"] == service["MAX_CHILDREN"]
    assert (int(service["MAX_CHILDREN"]) - int(service["RESERVE"])) // int(service["WEB_CONCURRENCY"]) >= 1
