"""MkDocs hooks of the site: fill the navigation, generate pages, and link names in the reference.

In ``nav``, ``folder/*`` stands for the pages of that folder that ``nav`` does not name, and ``*`` for those at the top.
The changelog is generated, and so is one page for each module of ``owlsocket_sync.contrib`` that has an extra with its
name. In the reference, a name in backticks links to its description.
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
SUBMODULES = ("errors", "server", "auth", "context", "testing")
PUBLIC = ("owlsocket_sync", *(f"owlsocket_sync.{name}" for name in SUBMODULES))

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
    """Replace the placeholders in ``nav`` by the existing pages."""
    generated = _generated()
    existing = {path.relative_to(config.docs_dir).as_posix() for path in Path(config.docs_dir).rglob("*.md")}
    unnamed = sorted((existing | set(generated)) - _named(config.nav))
    config.nav = _filled(config.nav or [], unnamed)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for name, text in _generated().items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """List the errors without a description of their own in a table."""
    if page.file.src_uri != "reference/errors.md":
        return markdown
    described = set(re.findall(r"^::: owlsocket_sync\.errors\.(\w+)", markdown, re.MULTILINE))
    rows = ["| error | is a | its type on the wire |", "|---|---|---|"]
    for name in errors.__all__:
        error = getattr(errors, name)
        if name not in described and isinstance(error, type) and issubclass(error, errors.ResilientError):
            parents = ", ".join(
                f"`{base.__name__.replace('PrefixedError', 'ResilientError')}`" for base in error.__bases__
            )
            anchor = f"[](){{ #owlsocket_sync.errors.{name} }}"
            rows.append(f"| {anchor}`{name}` | {parents} | `{error.wire_type}` |")
    return markdown.replace("<!-- the other errors -->", "\n".join(rows))


def on_page_content(content: str, page: Page, **_: Any) -> str:
    """Link the names in docstrings to their description, and convert RST colons to Markdown."""
    if not page.file.src_uri.startswith("reference/"):
        return content
    content = RST_COLONS.sub(lambda match: "" if match[1] is None else f"{match[1]}:</p>", content)
    content = content.replace("PrefixedError", "ResilientError")  # the common base is an implementation detail
    names = _names(page.file.src_uri)

    def link(match: re.Match[str]) -> str:
        path = names.get(match["name"] or "")
        return match[0] if path is None else f'<autoref optional identifier="{html.escape(path)}">{match[0]}</autoref>'

    return CODE.sub(link, content)


def _named(nav: Any) -> set[str]:
    """Return all pages that a part of ``nav`` names."""
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
    """Return the public modules of ``contrib``: those with an extra of the same name."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = setup.options("options.extras_require")
    contrib = PACKAGE / "contrib"
    found = [extra for extra in extras if (contrib / extra).is_dir() or (contrib / f"{extra}.py").is_file()]
    return [f"owlsocket_sync.contrib.{extra}" for extra in sorted(found)]


def exported(module: str) -> list[str]:
    """Return ``__all__`` of a module without importing it, because its dependencies may be missing."""
    path = ROOT.joinpath(*module.split("."))
    source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")
    assigned = {
        getattr(node.targets[0], "id", None): node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
    }
    if "_EXPORTS" in assigned:  # ``__all__`` is computed from it
        return sorted(name for names in ast.literal_eval(assigned["_EXPORTS"]).values() for name in names)
    if "__all__" in assigned:
        return [str(name) for name in ast.literal_eval(assigned["__all__"])]
    raise LookupError(f"{module} does not define __all__")


def _home(module: str, name: str) -> str:
    """Return the module under which the reference describes a name that several modules export."""
    return "owlsocket_sync.errors" if name in errors.__all__ else module


def _names(page: str) -> dict[str, str]:
    """Map each public name, as a page may write it, to its anchor in the reference."""
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
