"""The site is built without a warning, is whole, and needs nothing from elsewhere; needs the extra ``docs``."""

from __future__ import annotations

import base64
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest

from docs.running import ROOT
from docs.walking import dead_links, look, opened, pages_of, served
from support.chromium import Chromium, installed
from support.helpers import scaled

pytestmark = [pytest.mark.slow, pytest.mark.target, pytest.mark.xdist_group("site")]

needs_chromium = pytest.mark.skipif(installed() is None, reason="no Chromium on this machine: apt-get install chromium")

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


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    """One browser for all."""
    with Chromium() as running:
        yield running


@needs_chromium
def test_every_page_in_a_browser(site: Path, browser: Chromium) -> None:
    """On a desk and on a phone: none scrolls sideways, every link and anchor resolves, and no script complains."""
    with served(site) as url, opened(browser, url) as tab:
        seen = {page: look(tab, url + page) for page in pages_of(site)}
    assert len(seen) > 30
    assert [page for page, shown in seen.items() if not shown.title] == []
    too_wide = [(page, name, by) for page, shown in seen.items() for name, by in shown.wide.items() if by > 0]
    assert too_wide == [], "wider than the screen, by so many pixels"
    assert dead_links(url, site, seen) == []
    assert {page: shown.complaints for page, shown in seen.items() if shown.complaints} == {}


@needs_chromium
def test_a_page_that_is_broken_is_seen(tmp_path: Path, browser: Chromium) -> None:
    """Too wide for a phone, with dead links, and with a script that fails: what looks at pages can fail."""
    (tmp_path / "404.html").write_text("<title>nothing</title>")
    (tmp_path / "index.html").write_text(
        "<title>broken</title><p style='width: 600px'>wide</p><a href='gone/'>gone</a><a href='#nowhere'>nowhere</a>"
        "<a href='#here' id='here'>here</a><img src='missing.png'><script>nobody.home()</script>"
    )
    with served(tmp_path) as url, opened(browser, url) as tab:
        shown = look(tab, f"{url}/")
        assert dead_links(url, tmp_path, {"/": shown}) == [
            "/ links to /#nowhere, which has no such anchor",
            "/ links to /gone/, which is not there",
        ]
    assert shown.wide["desktop"] <= 0 < shown.wide["phone"]
    assert sorted(shown.complaints) == [
        "Uncaught ReferenceError: nobody is not defined",
        f"not loaded: {url}/missing.png",
    ]


@needs_chromium
def test_the_cheat_sheet_fits_on_one_sheet_of_paper(site: Path, browser: Chromium) -> None:
    """Of A4, as the browser prints it."""
    with served(site) as url, browser.page(f"{url}/cheatsheet/") as tab:
        printed = tab.command("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=False)
    assert len(re.findall(rb"/Type\s*/Page\b", base64.b64decode(printed["data"]))) == 1
