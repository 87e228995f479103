"""The files of docs/how-to/deployment.md that no test runs: they are valid, and their names and times fit together."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync import Heartbeat
from support.helpers import scaled
from support.proxies import adapted, files_of_page

KUBERNETES = "1.32"


def documents(name: str) -> list[Any]:
    """The YAML documents of a file of the page."""
    yaml = pytest.importorskip("yaml")
    return list(yaml.safe_load_all(files_of_page()[name]))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd on this machine")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """Without a word; with the program that runs here, as it has to exist."""
    unit = tmp_path / "chat@8001.service"
    unit.write_text(adapted("chat@.service", {"/opt/chat/bin/python": sys.executable}), encoding="utf-8")
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=scaled(60), check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_kubernetes_knows_each_field() -> None:
    """As the schemas of its API name and type them, and none that they do not name."""
    validate = pytest.importorskip("kubernetes_validate")
    found = documents("kubernetes.yaml")
    assert [each["kind"] for each in found] == ["Deployment", "Service", "Ingress", "PodDisruptionBudget"]
    for each in found:
        validate.validate(each, KUBERNETES, strict=True)


def test_the_objects_of_kubernetes_lead_to_each_other() -> None:
    """The ingress to the service, that to the pods, by labels and by the names of ports."""
    deployment, service, ingress, budget = documents("kubernetes.yaml")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (port,) = container["ports"]
    assert labels == deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    assert labels == budget["spec"]["selector"]["matchLabels"]
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    assert container["readinessProbe"]["httpGet"]["port"] == container["livenessProbe"]["tcpSocket"]["port"] == "ws"
    assert {"name": "PORT", "value": str(port["containerPort"])} in container["env"]
    (rule,) = ingress["spec"]["rules"]
    assert rule["http"]["paths"][0]["backend"]["service"] == {
        "name": service["metadata"]["name"],
        "port": {"name": service["spec"]["ports"][0]["name"]},
    }


def test_compose_knows_each_field(tmp_path: Path) -> None:
    """As the schema of the Compose specification names and types them; the proxy gets what its own file asks for."""
    pytest.importorskip("check_jsonschema")
    file = tmp_path / "compose.yaml"
    file.write_text(adapted("compose.yaml", {}), encoding="utf-8")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=scaled(60), check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (compose,) = documents("compose.yaml")
    proxy = compose["services"]["proxy"]
    port = compose["services"]["one"]["environment"]["PORT"]
    assert proxy["environment"]["SERVERS"].split() == [f"{name}:{port}" for name in ("one", "two")]
    for variable in proxy["environment"]:
        assert f"{{${variable}:" in files_of_page()["Caddyfile"]


def test_the_files_of_traefik_name_what_is_there() -> None:
    """This is all that is known of them: Traefik itself does not read them here."""
    (static,) = documents("traefik.yaml")
    (routes,) = documents("traefik-routes.yaml")
    assert Path(static["providers"]["file"]["filename"]).name == "traefik-routes.yaml"
    (router,) = routes["http"]["routers"].values()
    assert set(router["entryPoints"]) == set(static["entryPoints"])
    assert set(routes["http"]["services"]) == {router["service"]}
    assert set(routes["http"]["middlewares"]) == set(router["middlewares"])


def test_all_wait_longer_than_a_server_takes_to_close() -> None:
    """Whatever stops a server waits until it has closed its links, before it kills it."""
    files = files_of_page()
    (found,) = re.findall(r"server\.close\(timeout=(\d+)\)", files["server.py"])
    closing = int(found)
    (stop,) = re.findall(r"TimeoutStopSec=(\d+)", files["chat@.service"])
    assert int(stop) > closing
    (compose,) = documents("compose.yaml")
    assert int(compose["x-chat"]["stop_grace_period"].removesuffix("s")) > closing
    pod = documents("kubernetes.yaml")[0]["spec"]["template"]["spec"]
    (before,) = (int(container["lifecycle"]["preStop"]["exec"]["command"][-1]) for container in pod["containers"])
    assert pod["terminationGracePeriodSeconds"] > before + closing


def test_no_proxy_is_less_patient_than_the_heartbeat() -> None:
    """Each time of silence of the page leaves room for a ping, and for an answer that takes its whole time."""
    files = files_of_page()
    patience = Heartbeat().interval + Heartbeat().timeout
    silences = [
        *re.findall(r"proxy_(?:read|send)_timeout (\d+)s;", files["nginx.conf"]),
        *re.findall(r"timeout (?:client|server|tunnel) (\d+)s", files["haproxy.cfg"]),
        *re.findall(r"Timeout (\d+)", files["apache.conf"]),
        *re.findall(r'proxy-(?:read|send)-timeout: "(\d+)"', files["kubernetes.yaml"]),
    ]
    assert len(silences) == 8
    assert [seconds for seconds in silences if int(seconds) <= patience] == []
