"""Configuration and PHP in the documentation is what its readers accept, and nobody leaves a block unread."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from fcgi_async.fpm.binary import find_php_fpm
from tests.docs.blocks import DOCS, PAGES, ROOT, Block, blocks
from tests.docs.machine import Machine

EVERY = [block for page in PAGES for block in blocks(page)]
COMPOSE_SCHEMA = ROOT / "tests" / "compose" / "schema" / "compose-spec.json"


# of what a page leaves out
DEBIAN = """\
listen = {}/fpm.sock
pm = static
pm.max_children = 8
"""


def has(text: str, setting: str) -> bool:
    """Whether a configuration says a setting."""
    return re.search(rf"^{re.escape(setting)} =", text, re.MULTILINE) is not None


def of(language: str) -> pytest.MarkDecorator:
    """The blocks of a language."""
    found = [block for block in EVERY if block.language == language]
    return pytest.mark.parametrize("block", found, ids=lambda block: block.place)


def complaint(*command: str, cwd: Path) -> str:
    """What a program says where it is not content."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=30, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_languages() -> None:
    """Each block is of a kind that is run or read here; `text` is what people read."""
    known = {"python", "sh", "text", "php", "ini", "nginx", "yaml", "mermaid", "sql", "systemd", "console"}
    assert [block.place for block in EVERY if block.language not in known] == []


@of("php")
def test_php(block: Block, tmp_path: Path) -> None:
    """PHP can be parsed."""
    (tmp_path / "block.php").write_text(block.text)
    assert complaint("php", "-l", "block.php", cwd=tmp_path) == ""


@of("ini")
def test_fpm_configuration(block: Block, tmp_path: Path) -> None:
    """PHP-FPM takes it; what Debian's files say beside it stands in front."""
    text = block.text.replace("/run/php", str(tmp_path))
    given = "".join(line for line in DEBIAN.format(tmp_path).splitlines(True) if not has(text, line.split(" =")[0]))
    text = text.replace("[www]", f"[www]\n{given}", 1)
    if "[global]" not in text:
        text = f"[global]\nerror_log = {tmp_path}/log\n{text}"
    (tmp_path / "fpm.conf").write_text(text)
    assert complaint(find_php_fpm(), "-t", "-R", "-n", "-y", f"{tmp_path}/fpm.conf", cwd=tmp_path) == ""


@of("systemd")
def test_systemd_unit(block: Block, tmp_path: Path) -> None:
    """systemd takes it, with the units beside it; programs are those of this environment."""
    for other in blocks(block.page):
        if other.language == "systemd":
            text = other.text.replace("/srv/app/.venv/bin", str(Path(sys.executable).parent))
            (tmp_path / str(other.name)).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", f"./{block.name}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    # it only warns of what it does not know
    assert [line for line in done.stderr.splitlines() if str(block.name) in line or "ignoring" in line] == []
    assert done.returncode == 0, done.stderr


@of("nginx")
def test_nginx_configuration(block: Block, tmp_path: Path, machine: Machine) -> None:
    """nginx takes it, with the files beside it; what is no whole file within a server of its own."""
    for other in blocks(block.page):
        if other.language == "nginx" and other.name:
            machine.save(other, tmp_path)
    text = machine.translate(block.text, tmp_path)
    if "http {" not in text:
        text = f"events {{}}\nhttp {{ server {{ listen 127.0.0.1:1; location / {{ {text} }} }} }}"
    (tmp_path / "nginx.conf").write_text(text)
    command = ("nginx", "-t", "-q", "-p", str(tmp_path), "-e", "error.log", "-c", "nginx.conf")
    assert complaint(*command, cwd=tmp_path) == ""


@of("yaml")
def test_yaml(block: Block, tmp_path: Path) -> None:
    """Compose files follow their specification, Prometheus takes what is its, Kubernetes' agrees with itself."""
    for document in yaml.safe_load_all(block.text):
        if "scrape_configs" in document:
            assert set(document.get("rule_files", ())) <= {path.name for path in (DOCS / "monitoring").iterdir()}
            (tmp_path / "prometheus.yml").write_text(block.text)
            assert complaint("promtool", "check", "config", "--syntax-only", "prometheus.yml", cwd=tmp_path) == ""
        elif "services" in document:
            jsonschema.Draft7Validator(json.loads(COMPOSE_SCHEMA.read_text())).validate(document)
        else:
            check_kubernetes(document)


def check_kubernetes(document: dict[str, Any]) -> None:
    """Every volume that is mounted is declared, every label that is selected is there, limits are in order."""
    assert {"apiVersion", "kind", "metadata", "spec"} <= document.keys()
    assert (
        document["apiVersion"] == {"Deployment": "apps/v1", "NetworkPolicy": "networking.k8s.io/v1"}[document["kind"]]
    )
    if document["kind"] != "Deployment":
        return
    template = document["spec"]["template"]
    assert document["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    volumes = {volume["name"] for volume in template["spec"].get("volumes", ())}
    for container in template["spec"]["containers"]:
        assert {"name", "image"} <= container.keys()
        assert {mount["name"] for mount in container.get("volumeMounts", ())} <= volumes
        assert all(isinstance(entry["value"], str) for entry in container.get("env", ()))
