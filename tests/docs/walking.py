"""Walks the built site in a real browser: how wide each page is on a desk and on a phone, and where its links lead."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

from support.chromium import Chromium, Page

WIDTHS = {"desktop": 1280, "phone": 390}

NOTE_ERRORS = """
window.complaints = [];
addEventListener(
    'error',
    event => complaints.push(event.message || 'not loaded: ' + (event.target.src || event.target.href)),
    true,
);
addEventListener('unhandledrejection', event => complaints.push(String(event.reason)));
const print = console.error;
console.error = (...words) => { complaints.push(words.join(' ')); print(...words); };
"""

# In a frame: its width is that of a screen, for the styles too, and one load serves all widths.
LOOK = """
(async (url, widths) => {
    const frame = document.createElement('iframe');
    frame.style = 'border: 0; height: 800px; width: ' + Math.max(...Object.values(widths)) + 'px';
    const loaded = new Promise(resolve => frame.addEventListener('load', resolve));
    frame.src = url;
    document.body.append(frame);
    await loaded;
    const page = frame.contentDocument, wide = {};
    for (const [name, width] of Object.entries(widths)) {
        frame.style.width = width + 'px';
        wide[name] = page.documentElement.scrollWidth - width;
    }
    const seen = {
        wide,
        title: page.title,
        anchors: [...page.querySelectorAll('[id], a[name]')].map(element => element.id || element.name),
        links: [...page.querySelectorAll('a[href]')].map(link => link.href),
        complaints: frame.contentWindow.complaints,
    };
    frame.remove();
    return seen;
})(%s, %s)
"""


@dataclass(frozen=True)
class Seen:
    """What the browser shows of one page.

    Attributes:
        wide: by how many pixels it is wider than the screen, by the name of the width.
        title: its title.
        anchors: what a link may lead to.
        links: where its links lead, as absolute URLs.
        complaints: errors of its scripts, and what it could not load.
    """

    wide: dict[str, int]
    title: str
    anchors: list[str]
    links: list[str]
    complaints: list[str]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def served(site: Path) -> Iterator[str]:
    """The site over HTTP, as a reader gets it; its URL, without a slash at the end."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=site)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def pages_of(site: Path) -> list[str]:
    """The paths of all pages, as links write them."""
    return sorted(
        "/" + path.relative_to(site).as_posix().removesuffix("index.html")
        for path in site.rglob("*.html")
        if path.name != "404.html"
    )


@contextmanager
def opened(browser: Chromium, url: str) -> Iterator[Page]:
    """A tab at the site, in which pages may be looked at."""
    with browser.page(f"{url}/404.html") as tab:
        tab.command("Page.enable")
        tab.command("Page.addScriptToEvaluateOnNewDocument", source=NOTE_ERRORS)
        yield tab


def look(tab: Page, url: str) -> Seen:
    """Load a page, and look at it in all widths."""
    return Seen(**tab.evaluate(LOOK % (json.dumps(url), json.dumps(WIDTHS))))


def dead_links(url: str, site: Path, seen: dict[str, Seen]) -> list[str]:
    """The links between pages of the site that lead to no page, no file or no anchor."""
    dead = []
    for page, shown in seen.items():
        for link in sorted(set(shown.links)):
            target, anchor = urldefrag(link)
            if not target.startswith(f"{url}/"):
                continue
            path = unquote(target.removeprefix(url)).partition("?")[0]
            if path not in seen:
                if not (site / path.lstrip("/")).is_file():
                    dead.append(f"{page} links to {path}, which is not there")
            elif anchor and unquote(anchor) not in seen[path].anchors:
                dead.append(f"{page} links to {path}#{anchor}, which has no such anchor")
    return dead
