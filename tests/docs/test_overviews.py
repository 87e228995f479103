"""The pages that list things list all of them: samples, versions, methods, and what goes over the wire."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import owlsocket_sync
from docs.running import ROOT
from owlsocket_sync import Connection, connect
from owlsocket_sync.server import Request, serve
from support import floors
from support.helpers import Collector

DOCS = ROOT / "docs"


def test_the_gallery_has_each_sample() -> None:
    """By its name, with what it shows and how to run it."""
    page = (DOCS / "gallery.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([\w./]+)` \| .{10,} \| .{10,} \|$", page, re.MULTILINE)
    there = {
        path.name + "/" * path.is_dir() for path in (ROOT / "samples").iterdir() if not path.name.startswith(("_", "."))
    }
    assert sorted(listed) == sorted(there)


def test_the_page_of_compatibility_has_the_lowest_versions() -> None:
    """Those that setup.cfg allows."""
    assert floors.page() == floors.PAGE.read_text(encoding="utf-8"), "python -m support.floors --write, in tests"


def test_the_cheat_sheet_names_what_there_is() -> None:
    """Each method of a connection, and each class."""
    page = (DOCS / "cheatsheet.md").read_text(encoding="utf-8")
    methods = set(re.findall(r"\bconn\.(\w+)", page))
    assert len(methods) > 20
    assert [name for name in methods if not hasattr(Connection, name)] == []
    classes = set(re.findall(r"\b([A-Z]\w+(?:Error|Timeout|Unauthorized)|Heartbeat|Backoff)\b", page))
    assert len(classes) > 4
    assert [name for name in classes if name not in owlsocket_sync.__all__] == []


def test_the_picture_of_the_first_call_shows_the_real_frames() -> None:
    """Those that the two ends of the tutorial send, to the byte, but for ids and times."""
    picture = ElementTree.parse(DOCS / "images" / "first-call.svg")
    shown = {text.get("id"): text.text or "" for text in picture.iter("{http://www.w3.org/2000/svg}text")}
    seen: Collector = Collector()

    def kitchen(conn: Connection, request: Request) -> None:
        conn.perform("price", {"soup": 4, "pie": 7}.__getitem__)
        conn.listen(lambda message: seen(message.raw))

    with serve(kitchen) as server, connect(server.url) as conn:
        conn.listen(lambda message: seen(message.raw))
        assert conn.call("price", "pie", timeout=5) == 7
        for frame, words in zip(seen.wait(2), (f"{shown['call-1']}{shown['call-2']}", shown["result"]), strict=True):
            assert re.fullmatch(".+".join(map(re.escape, words.split("…"))), frame), (words, frame)
