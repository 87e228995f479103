"""What MkDocs does for our site beside its own: pages find their place in the menu, and names lead to the reference.

In ``nav``, ``folder/*`` stands for the pages of that folder that nothing else there names, ``*`` for those at the top.
Generated are the changelog, and a page for each part of ``owlsocket_sync.contrib`` that has an extra of its name. In
the reference, a name between backticks leads to where it is described.
"""

from __future__ import annotations

import ast
import html
import re
from configparser import ConfigParser
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from owlsocket_sync import Connection, errors

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "owlsocket_sync"
PUBLIC = ("owlsocket_sync", *(f"owlsocket_sync.{one}" for one in ("errors", "server", "auth", "context", "testing")))

PAGE = """---
title: {title}
---

# {part}

::: {part}
    options:
      show_root_heading: false
      show_root_toc_entry: false
      members: {members}
"""

RST_COLONS = re.compile(r"<p>::</p>|(\S)::</p>")
CODE = re.compile(r"<a\b.*?</a>|<b\b.*?</b>|<pre\b.*?</pre>|<h\d\b.*?</h\d>|<code>(?P<name>[\w.]+)</code>", re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages that are there in the place of what stands for them."""
    generated = _generated()
    there = {path.relative_to(config.docs_dir).as_posix() for path in Path(config.docs_dir).rglob("*.md")}
    unnamed = sorted((there | set(generated)) - _named(config.nav))
    config.nav = _filled(config.nav or [], unnamed)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that nobody wrote."""
    for name, text in _generated().items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """List the errors that are declared in one line each, and so have no description to show."""
    if page.file.src_uri != "reference/errors.md":
        return markdown
    described = set(re.findall(r"^::: owlsocket_sync\.errors\.(\w+)", markdown, re.MULTILINE))
    rows = ["| error | is a | its type on the wire |", "|---|---|---|"]
    for name in errors.__all__:
        error = getattr(errors, name)
        if name not in described and isinstance(error, type) and issubclass(error, errors.ResilientError):
            parents = ", ".join(
                f"`{one.__name__.replace('_PrefixedError', 'ResilientError')}`" for one in error.__bases__
            )
            anchor = f"[](){{ #owlsocket_sync.errors.{name} }}"
            rows.append(f"| {anchor}`{name}` | {parents} | `{error.wire_type}` |")
    return markdown.replace("<!-- the other errors -->", "\n".join(rows))


def on_page_content(content: str, page: Page, **_: Any) -> str:
    """Lead from the names in docstrings to what they name, and write their colons as Markdown does."""
    if not page.file.src_uri.startswith("reference/"):
        return content
    content = RST_COLONS.sub(lambda match: "" if match[1] is None else f"{match[1]}:</p>", content)
    content = content.replace("_PrefixedError", "ResilientError")  # what stands between is of no use to anybody
    names = _names(page.file.src_uri)

    def lead(match: re.Match[str]) -> str:
        path = names.get(match["name"] or "")
        return match[0] if path is None else f'<autoref optional identifier="{html.escape(path)}">{match[0]}</autoref>'

    return CODE.sub(lead, content)


def _named(nav: Any) -> set[str]:
    """All pages that a menu names."""
    if isinstance(nav, str):
        return {nav}
    return {name for entry in (nav.values() if isinstance(nav, dict) else nav) for name in _named(entry)}


def _filled(nav: list[Any], unnamed: list[str]) -> list[Any]:
    filled: list[Any] = []
    for entry in nav:
        if isinstance(entry, str) and entry.endswith("*"):
            filled += [name for name in unnamed if name.rpartition("/")[0] == entry.removesuffix("*").rstrip("/")]
        elif isinstance(entry, dict):
            filled.append({title: _filled(to, unnamed) if isinstance(to, list) else to for title, to in entry.items()})
        else:
            filled.append(entry)
    return filled


def _generated() -> dict[str, str]:
    pages = {"changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")}
    for part in parts():
        title = part.removeprefix("owlsocket_sync.")
        pages[_page_of(part)] = PAGE.format(title=title, part=part, members=exported(part))
    return pages


def _page_of(part: str) -> str:
    return f"reference/contrib/{part.rpartition('.')[2]}.md"


def parts() -> list[str]:
    """The public modules of ``contrib``: those that an extra is named after."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = setup.options("options.extras_require")
    contrib = PACKAGE / "contrib"
    found = [one for one in extras if (contrib / one).is_dir() or (contrib / f"{one}.py").is_file()]
    return [f"owlsocket_sync.contrib.{one}" for one in sorted(found)]


def exported(module: str) -> list[str]:
    """What ``__all__`` of a module says, without importing it: what it needs may not be here."""
    path = ROOT.joinpath(*module.split("."))
    source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")
    assigned = {
        getattr(node.targets[0], "id", None): node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
    }
    if "_HOMES" in assigned:  # ``__all__`` is made of it
        return sorted(name for names in ast.literal_eval(assigned["_HOMES"]).values() for name in names)
    if "__all__" in assigned:
        return [str(name) for name in ast.literal_eval(assigned["__all__"])]
    raise LookupError(f"{module} does not say what is public (__all__)")


def _home(module: str, name: str) -> str:
    """Where the reference describes a name that can be had from several modules."""
    return "owlsocket_sync.errors" if name in errors.__all__ else module


def _names(page: str) -> dict[str, str]:
    """Each public name as a page may call it, and the anchor of the reference that it leads to."""
    names: dict[str, str] = {}
    for part in parts():
        names.update({f"{part}.{name}": f"{part}.{name}" for name in exported(part)})
        if page == _page_of(part):
            names.update({name: f"{part}.{name}" for name in exported(part)})
    for module in PUBLIC:
        public = exported(module)
        homes = {name: f"{_home(module, name)}.{name}" for name in public}
        names.update({f"{module}.{name}": home for name, home in homes.items()})
        names.update({name: home for name, home in homes.items() if name not in names})
    if page == "reference/index.md":
        methods = {name for name in dir(Connection) if callable(getattr(Connection, name)) and not name.startswith("_")}
        methods -= {"auth", "proxy", *names}  # these two are options as well
        names.update({name: f"owlsocket_sync.Connection.{name}" for name in methods})
    return names
