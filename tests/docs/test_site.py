"""The site is built without a warning, is whole, and needs nothing from elsewhere; needs the extra ``docs``."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest

from docs.running import ROOT
from support.helpers import scaled

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("site")]

MODULES = [
    "owlsocket_sync",
    *(f"owlsocket_sync.{module}" for module in ("errors", "server", "stores", "auth", "context", "testing")),
]
CONTRIB = ["flask", "django", "jupyter", "otel", "prometheus"]
LOADS = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
PAGES = [path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in (ROOT / "docs").rglob("*.md")]

pytest.importorskip("mkdocs")
pytest.importorskip("mkdocstrings")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with warnings as errors."""
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=scaled(100), check=False
    )
    assert built.returncode == 0, built.stderr
    return place


class Reading(HTMLParser):
    """Collects the anchors of a page, where it leads, and what it loads."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loads: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at a tag."""
        attributes = dict(attrs)
        self.anchors.add(attributes.get("id") or "")
        if tag == "a":
            self.links.add((attributes.get("href") or "").partition("#")[0])
        if tag in LOADS and attributes.get("rel") != "canonical":
            self.loads.append(attributes.get(LOADS[tag]) or "")


def anchors(site: Path, folder: str) -> set[str]:
    """All anchors of the pages in a folder."""
    return {anchor for page in (site / folder).rglob("*.html") for anchor in Reading(page).anchors}


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_described(site: Path, module: str) -> None:
    """In the reference, under the name by which it is imported; errors once for all modules that have them."""
    described = anchors(site, "reference")
    public = importlib.import_module(module).__all__
    assert [name for name in public if not {f"{module}.{name}", f"owlsocket_sync.errors.{name}"} & described] == []


@pytest.mark.parametrize("part", CONTRIB)
def test_every_part_for_a_framework_has_its_page(site: Path, part: str) -> None:
    """With each name that it exports."""
    name = f"owlsocket_sync.contrib.{part}"
    if find_spec(name) is None:
        pytest.skip(f"there is no {name}")
    public = importlib.import_module(name).__all__
    assert {f"{name}.{member}" for member in public} <= anchors(site, f"reference/contrib/{part}")


def test_every_page_is_in_the_menu(site: Path) -> None:
    """None is there that nobody finds."""
    links = Reading(site / "index.html").links
    pages = {re.sub(r"(^|/)index$", r"\1", page) for page in [*PAGES, "changelog"]}
    assert {f"{page.rstrip('/')}/" for page in pages if page} <= links


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    """Whoever reads it tells nobody, and needs no network."""
    foreign = re.compile(r"(https?:)?//")
    loaded = {load for page in site.rglob("*.html") for load in Reading(page).loads if foreign.match(load)}
    assert loaded == set()
    styles = "".join(sheet.read_text(encoding="utf-8") for sheet in site.rglob("*.css"))
    assert re.findall(r"@import[^;]*//|url\(['\"]?(?:https?:)?//[^)]*", styles) == []
