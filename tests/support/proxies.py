"""Reverse proxies, as docs/how-to/deployment.md configures them: started before servers of a test, reloaded, killed."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import ClassVar

import pytest

from docs.blocks import blocks_of
from support.helpers import VECTORS, eventually, scaled

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "deployment.md"
CERTIFICATE = VECTORS / "tls" / "server.pem"
PATIENCE = 20.0
Changes = tuple[tuple[str, str], ...]
"""Texts of a file, each with what replaces it."""
PLACES = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"))
"""Where programs are looked for: many users do not have the last two in their path."""


@cache
def files_of_page() -> Mapping[str, str]:
    """The files that the page shows, by their names."""
    blocks = blocks_of(PAGE.read_text(encoding="utf-8"))
    return {block.title: block.text + "\n" for block in blocks if block.title is not None}


def fixed_port() -> int:
    """A port that is free, and stays so: the system gives none of its range to a connection that goes out."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                sock.bind(("127.0.0.1", port))
                return port


def adapted(name: str, changes: Mapping[str, str]) -> str:
    """A file of the page in which some texts are replaced, each of which must be there."""
    text = files_of_page()[name]
    for old, new in changes.items():
        assert old in text, f"{name} of the page has no {old!r}"
        text = text.replace(old, new)
    return text


class Proxy:
    """A proxy that runs with the file of the page; a context manager.

    Args:
        folder: for its files.
        servers: the ports of the two servers behind it.
        changes: what else is replaced in the file of the page, such as a timeout.

    Attributes:
        url: of the servers, through the proxy.
        secure_url: the same with TLS.
    """

    program: ClassVar[str]
    file: ClassVar[str]
    silence: ClassVar[Changes] = ()
    """Replaces the time of silence after which the proxy ends a link by ``seconds``."""
    seconds: ClassVar[float] = 1.0
    grace: ClassVar[Changes] = ()
    """Replaces the time for which links outlive a reload by one second."""
    pauses: ClassVar[Changes]
    """Replaces the pauses after which the proxy looks at its servers again by short ones."""
    checks_health: ClassVar[bool] = True
    """Whether it asks its servers how they are."""
    keeps_links: ClassVar[bool] = True
    """Whether links stay when the configuration is reloaded."""

    @classmethod
    def is_installed(cls) -> bool:
        """Whether this machine has it."""
        return shutil.which(cls.program, path=PLACES) is not None

    def __init__(self, folder: Path, servers: tuple[int, int], changes: Changes = ()) -> None:
        self.folder = folder
        self.port, self.secure_port = fixed_port(), fixed_port()
        self.url = f"ws://localhost:{self.port}/"
        self.secure_url = f"wss://localhost:{self.secure_port}/"
        first, second = servers
        self.changes = {"127.0.0.1:8001": f"127.0.0.1:{first}", "127.0.0.1:8002": f"127.0.0.1:{second}"}
        self.changes |= self.places() | dict(changes)
        self.write()

    def places(self) -> dict[str, str]:
        """What is replaced because it is somewhere else here: ports and paths."""
        raise NotImplementedError

    def write(self) -> None:
        """Write the configuration."""
        (self.folder / self.file).write_text(adapted(self.file, self.changes), encoding="utf-8")

    def arguments(self) -> list[str]:
        """The arguments with which it stays in the foreground."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """The variables that it gets."""
        return {**os.environ, "PATH": PLACES}

    def reload(self) -> None:
        """Have it read its configuration again."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with (self.folder / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                [self._path(), *self.arguments()],
                stdout=output,
                stderr=output,
                env=self.environment(),
                start_new_session=True,
            )
        eventually(self._listens, PATIENCE)

    def _path(self) -> str:
        path = shutil.which(self.program, path=PLACES)
        assert path is not None
        return path

    def _listens(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError(self.output())
        return listens(self.port) and listens(self.secure_port)

    def output(self) -> str:
        """What it has printed."""
        return (self.folder / "output.log").read_text(encoding="utf-8", errors="replace")[-6000:]

    def send(self, number: int) -> None:
        """Send a signal to the process that was started."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill all its processes at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(scaled(PATIENCE))
        eventually(lambda: not listens(self.port), PATIENCE)

    def __enter__(self) -> Proxy:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()


def listens(port: int) -> bool:
    """Whether a program listens at a port of this machine."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


class Nginx(Proxy):
    """nginx: a master, which starts new workers at a reload."""

    program = "nginx"
    file = "nginx.conf"
    silence = (("90s", "1s"),)
    grace = (("worker_shutdown_timeout 60s", "worker_shutdown_timeout 1s"),)
    pauses = (("fail_timeout=5s", "fail_timeout=1s"),)
    checks_health = False

    def places(self) -> dict[str, str]:
        temporary = "".join(
            f"{name}_temp_path {self.folder}/{name}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return {
            "listen 80": f"listen 127.0.0.1:{self.port}",
            "listen 443": f"listen 127.0.0.1:{self.secure_port}",
            "/etc/ssl/private/chat.pem": str(CERTIFICATE),
            "worker_processes auto": "worker_processes 1",
            "worker_connections 30000": "worker_connections 500",
            "worker_rlimit_nofile 65536;\n": "",
            "http {": f"http {{ access_log off; {temporary}",
        }

    def arguments(self) -> list[str]:
        more = f"daemon off; pid {self.folder}/nginx.pid;" + (" user root;" if os.geteuid() == 0 else "")
        log = str(self.folder / "output.log")
        return ["-p", str(self.folder), "-c", str(self.folder / self.file), "-e", log, "-g", more]

    def reload(self) -> None:
        self.send(signal.SIGHUP)


class HAProxy(Proxy):
    """HAProxy: a master, which starts a new worker at a reload."""

    program = "haproxy"
    file = "haproxy.cfg"
    silence = (("90s", "1s"),)
    grace = (("hard-stop-after 60s", "hard-stop-after 1s"),)
    pauses = (("inter 2s", "inter 100ms"), ("timeout check 2s", "timeout check 500ms"))

    def places(self) -> dict[str, str]:
        return {
            "bind :80": f"bind 127.0.0.1:{self.port}",
            "bind :443": f"bind 127.0.0.1:{self.secure_port}",
            "/etc/ssl/private/chat.pem": str(CERTIFICATE),
            "maxconn 30000": "maxconn 500",
        }

    def arguments(self) -> list[str]:
        return ["-W", "-db", "-f", str(self.folder / self.file)]

    def reload(self) -> None:
        self.send(signal.SIGUSR2)


APACHE = """
ServerName localhost
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/apache.pid
ErrorLog {folder}/output.log
Listen 127.0.0.1:{port}
Listen 127.0.0.1:{secure_port}
StartServers 1
{user}
{modules}
"""
MODULES = (
    "mpm_event authz_core headers proxy proxy_http proxy_balancer proxy_hcheck lbmethod_bybusyness slotmem_shm"
    " socache_shmcb ssl"
).split()


class Apache(Proxy):
    """Apache httpd, with its event MPM: a parent, which starts new children at a reload."""

    program = "apache2"
    file = "apache.conf"
    silence = (("Timeout 90", "Timeout 2"), (" timeout=5", " timeout=1"))  # the longer one holds
    seconds = 2.0
    pauses = (("hcinterval=2", "hcinterval=100ms"), ("retry=5", "retry=1"), (" timeout=5", " timeout=1"))

    def places(self) -> dict[str, str]:
        return {"*:443": f"127.0.0.1:{self.secure_port}", "/etc/ssl/private/chat.pem": str(CERTIFICATE)}

    def write(self) -> None:
        modules = "\n".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in MODULES)
        user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
        beginning = APACHE.format(
            folder=self.folder, port=self.port, secure_port=self.secure_port, modules=modules, user=user
        )
        secure = adapted(self.file, self.changes)
        # Once more without TLS, which the page does not offer.
        plain = secure.replace(str(self.secure_port), str(self.port)).replace("SSLEngine on", "SSLEngine off")
        (self.folder / self.file).write_text(beginning + secure + plain, encoding="utf-8")

    def arguments(self) -> list[str]:
        return ["-f", str(self.folder / self.file), "-D", "FOREGROUND"]

    def reload(self) -> None:
        self.send(signal.SIGUSR1)


class Caddy(Proxy):
    """Caddy: one process, which is sent a configuration."""

    program = "caddy"
    file = "Caddyfile"
    pauses = (
        ("health_interval 2s", "health_interval 100ms"),
        ("health_timeout 2s", "health_timeout 500ms"),
        ("fail_duration 5s", "fail_duration 1s"),
    )
    keeps_links = False

    def places(self) -> dict[str, str]:
        return {}

    def write(self) -> None:
        site = "{$SITE:chat.example.com} {"
        plain = adapted(
            self.file, {**self.changes, site: f"http://localhost:{self.port}, http://chat.example.com:{self.port} {{"}
        )
        address = f"https://localhost:{self.secure_port} {{\ntls {CERTIFICATE} {CERTIFICATE}"
        secure = adapted(self.file, {**self.changes, site: address})
        options = f"{{\nadmin localhost:{fixed_port()}\nauto_https disable_redirects\n}}\n"
        (self.folder / self.file).write_text(options + plain + secure, encoding="utf-8")

    def arguments(self) -> list[str]:
        return ["run", *self._options()]

    def _options(self) -> list[str]:
        return ["--config", str(self.folder / self.file), "--adapter", "caddyfile"]

    def environment(self) -> dict[str, str]:
        folder = str(self.folder)
        homes = {"HOME": folder, "XDG_DATA_HOME": folder, "XDG_CONFIG_HOME": folder}
        return {**super().environment(), **homes, "GOMAXPROCS": "1"}

    def reload(self) -> None:
        command = [self._path(), "reload", "--force", *self._options()]
        subprocess.run(command, env=self.environment(), check=True, capture_output=True, timeout=scaled(PATIENCE))


PACKAGES = {Nginx: "nginx", HAProxy: "haproxy", Apache: "apache2", Caddy: "caddy"}
MOST_USED = ("haproxy", "nginx")


def each_proxy(fits: Callable[[type[Proxy]], object] = lambda proxy: True) -> list[object]:
    """A parameter for each proxy that fits; those that are not installed are skipped."""
    return [
        pytest.param(
            proxy,
            id=proxy.program,
            marks=[
                pytest.mark.skipif(
                    not proxy.is_installed(),
                    reason=f"no {proxy.program} on this machine: apt-get install {package}",
                ),
                *([] if proxy.program in MOST_USED else [pytest.mark.variant]),
            ],
        )
        for proxy, package in PACKAGES.items()
        if fits(proxy)
    ]
