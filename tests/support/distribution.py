"""What is in a wheel and a source distribution, and what should be.

``PYTHONPATH=tests python -m support.distribution DIST [TAG]``, from the root of the checkout.
Reads nothing but the archives and the checkout, and prints what is wrong, one line each; its status is 1 then.
"""

from __future__ import annotations

import configparser
import re
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

from support.changelog import FILE, releases_of

ROOT = Path(__file__).parents[2]
PACKAGE = "owlsocket_sync"
INDISPENSABLE = {
    f"{PACKAGE}/py.typed",
    f"{PACKAGE}/__main__.py",
    f"{PACKAGE}/contrib/django/management/commands/owlsocket.py",
    f"{PACKAGE}/contrib/flask/__init__.py",
    f"{PACKAGE}/testing/plugin.py",
}
SOURCES = {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "setup.cfg", "setup.py", "tests/conftest.py"}
LEFTOVERS = ("__pycache__", ".pyc", ".mypy_cache", ".pytest_cache", ".git/", ".coverage")
LEFT_OUT = ("benchmarks/", "docs/performance/", "docs/figures.json", "docs/soak", "tests/docs/", "tests/fuzz/corpus/")
"""What only a checkout has: figures, corpora, and the tests that are about them."""

LINK = re.compile(r"\]\((?!https?://|#)([^)\s]*)\)")


def declared() -> configparser.ConfigParser:
    """What setup.cfg says."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def version() -> str:
    """The version that setup.cfg says."""
    return declared()["metadata"]["version"]


def files_of_package() -> set[str]:
    """Every file of the package in the checkout."""
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / PACKAGE).rglob("*") if path.is_file()}
    return {name for name in files if not any(part in name for part in LEFTOVERS)} | INDISPENSABLE


def faults_of_wheel(path: Path) -> list[str]:
    """What is wrong with a wheel."""
    with zipfile.ZipFile(path) as wheel:
        names = {name for name in wheel.namelist() if not name.endswith("/")}
        info = f"{PACKAGE}-{version()}.dist-info"
        texts = {
            name: wheel.read(f"{info}/{name}").decode()
            for name in ("METADATA", "entry_points.txt")
            if f"{info}/{name}" in names
        }
    ours = {name for name in names if name.startswith(f"{PACKAGE}/")}
    faults = [f"{path.name}: {name} is missing" for name in sorted(files_of_package() - ours)]
    faults += [f"{path.name}: {name} is not of the package" for name in sorted(ours - files_of_package())]
    strangers = {name for name in names - ours if not name.startswith(f"{info}/")}
    faults += [f"{path.name}: {name} does not belong there" for name in sorted(strangers)]
    if not any(name.startswith(info) and name.endswith("/LICENSE") for name in names):
        faults.append(f"{path.name}: LICENSE is missing")
    return faults + [f"{path.name}: {fault}" for fault in _faults_of_metadata(texts)]


def _faults_of_metadata(texts: dict[str, str]) -> list[str]:
    setup = declared()
    metadata = Parser().parsestr(texts.get("METADATA", ""))
    extras = set(setup["options.extras_require"])
    entries = configparser.ConfigParser()
    entries.read_string(texts.get("entry_points.txt", ""))
    expected = {
        "version": (metadata["Version"], version()),
        "licence": (metadata["License-Expression"], setup["metadata"]["license_expression"]),
        "minimal Python": (metadata["Requires-Python"], setup["options"]["python_requires"]),
        "extras": (sorted(metadata.get_all("Provides-Extra", [])), sorted(extras)),
        "entry points": (sorted(entries.sections()), sorted(setup["options.entry_points"])),
    }
    faults = [f"{what}: {found!r}, not {right!r}" for what, (found, right) in expected.items() if found != right]
    return faults + [f"the description links to {link}" for link in relative_links(str(metadata.get_payload()))]


def relative_links(description: str) -> list[str]:
    """The links of a page on a package index that lead nowhere there, outside of its blocks of code."""
    return LINK.findall(re.sub(r"^```.*?^```$", "", description, flags=re.MULTILINE | re.DOTALL))


def faults_of_links(path: Path) -> list[str]:
    """What a wheel that is published lacks: somebody who reads of it has to find the repository."""
    with zipfile.ZipFile(path) as wheel:
        text = wheel.read(f"{PACKAGE}-{version()}.dist-info/METADATA").decode()
    named = {line.partition(",")[0] for line in Parser().parsestr(text).get_all("Project-URL", [])}
    missing = ", ".join(sorted({"Changelog", "Documentation", "Issues", "Source"} - named))
    return [f"{path.name}: no project URL for {missing}: set OWLSOCKET_REPOSITORY"] if missing else []


def faults_of_sources(path: Path) -> list[str]:
    """What is wrong with a source distribution, from which the tests are to be run too."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        roots = {name.partition("/")[0] for name in archive.getnames()}
    expected = files_of_package() | SOURCES
    faults = [f"{path.name}: {name} is missing" for name in sorted(expected - names)]
    left = [name for name in sorted(names) if any(part in name for part in LEFTOVERS)]
    left += [name for name in sorted(names) if name.startswith(LEFT_OUT)]
    faults += [f"{path.name}: {name} does not belong there" for name in left]
    if roots != {f"{PACKAGE}-{version()}"}:
        faults.append(f"{path.name}: unpacks into {sorted(roots)}")
    return faults


def faults_of_words(tag: str | None = None) -> list[str]:
    """Where setup.cfg, the changelog and, at last, a tag do not agree about the version."""
    newest = releases_of(FILE.read_text(encoding="utf-8"))[0]
    faults = []
    if newest.name != version():
        faults.append(f"CHANGELOG.md is about {newest.name}, setup.cfg about {version()}")
    if tag is not None and tag != f"v{version()}":
        faults.append(f"the tag is {tag}, the version {version()}")
    if tag is not None and newest.date is None:
        faults.append(f"CHANGELOG.md does not say when {newest.name} was released")
    return faults


def faults_of(directory: Path, tag: str | None = None) -> list[str]:
    """What is wrong with a folder of distributions, of which there are two."""
    wheels, sources = sorted(directory.glob("*.whl")), sorted(directory.glob("*.tar.gz"))
    if (len(wheels), len(sources)) != (1, 1):
        return [f"{directory} has {len(wheels)} wheels and {len(sources)} source distributions, not one of each"]
    links = [] if tag is None else faults_of_links(wheels[0])
    return [*faults_of_wheel(wheels[0]), *faults_of_sources(sources[0]), *faults_of_words(tag), *links]


def main(directory: str, tag: str | None = None) -> int:
    """Print what is wrong."""
    faults = faults_of(Path(directory), tag)
    print("\n".join(faults) or f"all that belongs to {version()} is there, and nothing else")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
