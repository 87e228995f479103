"""What is released is whole, and agrees with itself; and what checks that can fail."""

from __future__ import annotations

import io
import json
import re
import runpy
import subprocess
import sys
import tarfile
import zipfile
from datetime import date
from pathlib import Path

import pytest

import owlsocket_sync
from owlsocket_sync.handshake_fields import USER_AGENT
from support.advisories import verdict
from support.changelog import FILE, Release, releases_of
from support.distribution import (
    PACKAGE,
    SOURCES,
    declared,
    faults_of,
    faults_of_links,
    faults_of_sources,
    faults_of_wheel,
    faults_of_words,
    files_of_package,
    relative_links,
    version,
)
from support.floors import floors

ROOT = Path(__file__).parent.parent
NAME = f"{PACKAGE}-{version()}"


def test_all_say_the_same_version() -> None:
    """setup.cfg, the package as it is installed and as it names itself to servers, and the changelog."""
    assert owlsocket_sync.__version__ == version()
    assert "__version__" in dir(owlsocket_sync)
    assert f"owlsocket-sync/{version()}" == USER_AGENT
    assert faults_of_words() == []


def test_a_copy_that_nobody_installed_has_no_version() -> None:
    """It says so, in a form that tools can read, and works."""
    script = (
        "import sys, importlib.metadata as metadata\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "def version(name):\n    raise metadata.PackageNotFoundError(name)\n"
        "metadata.version = version\n"
        "import owlsocket_sync; print(owlsocket_sync.__version__)"
    )
    ran = subprocess.run([sys.executable, "-c", script, str(ROOT)], capture_output=True, text=True, timeout=30)
    assert (ran.stdout, ran.stderr) == ("0+unknown\n", "")


def test_what_is_pinned_has_a_lower_bound() -> None:
    """Of whatever is required, by whichever extra, the lowest version that works is named."""
    options, extras = declared()["options"], declared()["options.extras_require"]
    required = [line for text in (options["install_requires"], *extras.values()) for line in text.split()]
    assert [line for line in required if not re.search(r">=\d", line)] == []


# -- the changelog ---------------------------------------------------------------------------------------------------


CHANGELOG = """# Changelog

Some words.

## [0.3.0] - unreleased

### Added

- One thing,
  that goes on.

### Fixed

- Another.
- A third.

## [0.2.1] - 2030-02-03

### Security

- Something.

## [0.2.0] - 2030-02-03

### Removed

- Something else.
"""


def test_a_changelog_is_read() -> None:
    """Version by version."""
    assert releases_of(CHANGELOG) == [
        Release((0, 3, 0), None, {"Added": ["One thing, that goes on."], "Fixed": ["Another.", "A third."]}),
        Release((0, 2, 1), date(2030, 2, 3), {"Security": ["Something."]}),
        Release((0, 2, 0), date(2030, 2, 3), {"Removed": ["Something else."]}),
    ]


def test_our_changelog_keeps_to_the_form() -> None:
    """And has no empty words in it."""
    releases = releases_of(FILE.read_text(encoding="utf-8"))
    assert all(len(change) > 20 for release in releases for changes in release.changes.values() for change in changes)


@pytest.mark.parametrize(
    ("good", "bad", "complaint"),
    [
        ("# Changelog\n", "# Changes\n", "line 1"),
        ("## [0.3.0] - unreleased", "## 0.3.0", "line 5: a version is"),
        ("## [0.3.0] - unreleased", "## [0.3.0] - 2030-13-01", "month"),
        ("## [0.2.1] - 2030-02-03", "## [0.2.1] - unreleased", "line 17: only the newest"),
        ("## [0.2.1] - 2030-02-03", "## [0.4.1] - 2030-02-03", "line 17: versions go down"),
        ("## [0.2.0] - 2030-02-03", "## [0.2.0] - 2030-02-04", "line 23: dates go down"),
        ("### Fixed", "### Repaired", "line 12: a kind of change is one of Added, Changed"),
        ("### Fixed", "### Added", "line 12: each kind"),
        ("### Security\n", "", "line 20: a change has a kind"),
        ("- Something.\n", "", r"0.2.1 says what changed \['Security'\]"),
        ("- Another.", "Another.", "line 14: a change begins with"),
        (CHANGELOG[12:], "", "there is a version"),
    ],
)
def test_a_changelog_of_another_form_is_refused(good: str, bad: str, complaint: str) -> None:
    """With the line, and the rule."""
    assert good in CHANGELOG
    with pytest.raises(ValueError, match=complaint):
        releases_of(CHANGELOG.replace(good, bad, 1))


def test_a_tag_wants_the_same_version_and_a_date() -> None:
    """A release that is not dated, or called otherwise, is none."""
    assert f"the tag is v9.9.9, the version {version()}" in faults_of_words("v9.9.9")
    undated = releases_of(FILE.read_text(encoding="utf-8"))[0].date is None
    assert bool(faults_of_words(f"v{version()}")) is undated


# -- the archives ------------------------------------------------------------------------------------------------------


LICENCE = "License-Expression: MIT\n"


def metadata() -> str:
    """The metadata of a wheel, as it should be."""
    extras = "".join(f"Provides-Extra: {extra}\n" for extra in declared()["options.extras_require"])
    return (
        f"Metadata-Version: 2.1\nName: owlsocket-sync\nVersion: {version()}\nRequires-Python: >=3.10\n{extras}{LICENCE}"
    )


def contents() -> dict[str, str]:
    """What a wheel should have in it."""
    info = f"{NAME}.dist-info"
    return {
        **dict.fromkeys(files_of_package(), ""),
        f"{info}/METADATA": metadata(),
        f"{info}/entry_points.txt": "[console_scripts]\n[pytest11]\n",
        f"{info}/licenses/LICENSE": "",
        f"{info}/RECORD": "",
    }


def wheel(directory: Path, files: dict[str, str]) -> Path:
    """A wheel with this in it."""
    path = directory / f"{NAME}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def sources(directory: Path, names: set[str], root: str = NAME) -> Path:
    """A source distribution with these files in it."""
    path = directory / f"{NAME}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in sorted(names):
            archive.addfile(tarfile.TarInfo(f"{root}/{name}"), io.BytesIO())
    return path


def test_a_whole_release_has_no_faults(tmp_path: Path) -> None:
    """The two archives, and the words about them."""
    wheel(tmp_path, contents())
    assert faults_of(tmp_path) == [f"{tmp_path} has 1 wheels and 0 source distributions, not one of each"]
    sources(tmp_path, files_of_package() | SOURCES)
    assert faults_of(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    [
        f"{PACKAGE}/py.typed",
        f"{PACKAGE}/contrib/django/management/commands/owlsocket.py",
        f"{PACKAGE}/server/server.py",
        f"{NAME}.dist-info/licenses/LICENSE",
    ],
)
def test_what_is_missing_from_a_wheel_is_found(tmp_path: Path, name: str) -> None:
    """A module, a marker, the licence."""
    files = contents()
    del files[name]
    (fault,) = faults_of_wheel(wheel(tmp_path, files))
    assert re.search(rf"{re.escape(Path(name).name)} is missing$", fault)


@pytest.mark.parametrize("name", ["tests/test_client.py", "samples/chat.py", f"{PACKAGE}/left_over.py", "setup.py"])
def test_what_does_not_belong_in_a_wheel_is_found(tmp_path: Path, name: str) -> None:
    """Tests above all."""
    (fault,) = faults_of_wheel(wheel(tmp_path, {**contents(), name: ""}))
    assert name in fault


@pytest.mark.parametrize(
    ("good", "bad", "what"),
    [
        (f"Version: {version()}", "Version: 9.9.9", "version"),
        (">=3.10", ">=3.8", "minimal Python"),
        ("License-Expression: MIT", "License: MIT", "licence"),
        ("Provides-Extra: cli\n", "", "extras"),
    ],
)
def test_metadata_that_says_something_else_is_found(tmp_path: Path, good: str, bad: str, what: str) -> None:
    """The version, the Pythons, the extras."""
    files = contents() | {f"{NAME}.dist-info/METADATA": metadata().replace(f"{good}", bad, 1)}
    (fault,) = faults_of_wheel(wheel(tmp_path, files))
    assert f": {what}: " in fault


def test_a_link_that_leads_nowhere_on_an_index_is_found(tmp_path: Path) -> None:
    """Of the description; what a block of code shows is no link."""
    page = "\n[there](https://example.com/a.md) [here](#here)\n```python\nrow[0](argument)\n```\n"
    name = f"{NAME}.dist-info/METADATA"
    assert faults_of_wheel(wheel(tmp_path, {**contents(), name: metadata() + page})) == []
    (fault,) = faults_of_wheel(wheel(tmp_path, {**contents(), name: f"{metadata()}{page}[nowhere](docs/index.md)"}))
    assert fault.endswith("the description links to docs/index.md")


def test_what_is_published_names_its_repository(tmp_path: Path) -> None:
    """So that a reader of the index finds the source, the documentation, the changes and the issues."""
    urls = "".join(f"Project-URL: {name}, {url}\n" for name, url in SETUP["project_urls"](REPOSITORY, "1.0").items())
    name = f"{NAME}.dist-info/METADATA"
    assert faults_of_links(wheel(tmp_path, {**contents(), name: metadata() + urls})) == []
    (fault,) = faults_of_links(wheel(tmp_path, contents()))
    assert fault.endswith("Changelog, Documentation, Issues, Source: set OWLSOCKET_REPOSITORY")


REPOSITORY = "https://example.com/owner/name"
SETUP = runpy.run_path(str(ROOT / "setup.py"), run_name="setup")


@pytest.mark.parametrize(
    ("written", "shown", "without"),
    [
        ("[a page](docs/faq.md)", f"[a page]({REPOSITORY}/blob/v1.0/docs/faq.md)", "a page"),
        ("[`docs/`](docs)", f"[`docs/`]({REPOSITORY}/tree/v1.0/docs)", "`docs/`"),
        ("[part](docs/faq.md#what-it-is)", f"[part]({REPOSITORY}/blob/v1.0/docs/faq.md#what-it-is)", "part"),
        ("![a picture](a.svg)", f"![a picture]({REPOSITORY}/raw/v1.0/a.svg)", ""),
        ("[far](https://example.com) [near](#near)", "[far](https://example.com) [near](#near)", None),
        ("`pip install 'a[b]'` (c)", "`pip install 'a[b]'` (c)", None),
        ("```python\nrow[0](x)\n```", "```python\nrow[0](x)\n```", None),
    ],
)
def test_links_are_absolute_on_an_index_or_gone(written: str, shown: str, without: str | None) -> None:
    """With a repository they lead there, at the tag of the version; without one, their words stay."""
    assert SETUP["description"](written, REPOSITORY, "1.0") == shown
    assert SETUP["description"](written, "", "1.0") == (shown if without is None else without)


@pytest.mark.parametrize("repository", ["", REPOSITORY])
def test_no_link_of_the_readme_is_dead_on_an_index(repository: str) -> None:
    """Each file that it links to is there, and each link is absolute."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    links = relative_links(readme)
    assert len(links) > 20
    assert [link for link in links if not (ROOT / link.partition("#")[0]).exists()] == []
    assert relative_links(SETUP["description"](readme, repository, "1.0")) == []


def test_only_pythons_that_were_run_are_named() -> None:
    """By the classifiers, and by the README, which says that the tests run on them."""
    classifiers = re.findall(r"Python :: (3\.\d+)", declared()["metadata"]["classifiers"])
    sentence = re.search(r"The tests run on CPython (.*?)\. ", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert sentence
    assert re.findall(r"3\.\d+", sentence[1]) == classifiers
    assert classifiers[0] == declared()["options"]["python_requires"].removeprefix(">=")


def test_the_core_needs_little() -> None:
    """What only one part loads is required by the extra of that part, so that it fits beside other packages."""
    assert set(floors()["core"]) == {"orjson", "requests", "websocket-client"}


def test_faults_of_sources_are_found(tmp_path: Path) -> None:
    """What is missing, what was left lying about, and a folder of another name."""
    whole = files_of_package() | SOURCES
    assert faults_of_sources(sources(tmp_path, whole)) == []
    (fault,) = faults_of_sources(sources(tmp_path, whole - {"CHANGELOG.md"}))
    assert fault.endswith("CHANGELOG.md is missing")
    (fault,) = faults_of_sources(sources(tmp_path, whole | {"tests/__pycache__/helpers.pyc"}))
    assert fault.endswith("does not belong there")
    (fault,) = faults_of_sources(sources(tmp_path, whole | {"docs/performance/calls.png"}))
    assert fault.endswith("does not belong there")
    (fault,) = faults_of_sources(sources(tmp_path, whole, "elsewhere"))
    assert fault.endswith("unpacks into ['elsewhere']")


# -- advisories --------------------------------------------------------------------------------------------------------


def report(*packages: dict[str, object]) -> str:
    """What pip-audit writes."""
    return json.dumps({"dependencies": [{"name": "owlsocket-sync", "skip_reason": "not found"}, *packages]})


SOUND: dict[str, object] = {"name": "orjson", "version": "3.9", "vulns": []}
UNKNOWN: dict[str, object] = {"name": "click", "skip_reason": "not found"}
VULNERABLE: dict[str, object] = {
    "name": "requests",
    "version": "2.19.0",
    "vulns": [{"id": "PYSEC-2018-28", "fix_versions": ["2.20.0"]}],
}


@pytest.mark.parametrize(
    ("packages", "well", "words"),
    [
        ([SOUND], True, "no known vulnerability in 1 packages"),
        ([SOUND, UNKNOWN], True, "no known vulnerability in 1 packages; nothing is known of click"),
        ([SOUND, VULNERABLE, UNKNOWN], False, "requests 2.19.0: PYSEC-2018-28, fixed in 2.20.0"),
        ([UNKNOWN], True, "skipped: whoever is asked for advisories here knows none of our dependencies"),
    ],
)
def test_what_an_audit_finds_is_told(packages: list[dict[str, object]], well: bool, words: str) -> None:
    """A vulnerability fails; that somebody knows nothing is said, and is no praise."""
    assert verdict(report(*packages), "") == (well, words)


def test_an_audit_that_reaches_nobody_is_skipped_with_a_word() -> None:
    """One that fails in any other way fails."""
    assert verdict("", "requests.exceptions.ConnectionError: …") == (
        True,
        "skipped: the advisories cannot be reached from here",
    )
    well, words = verdict("", "KeyError: 'vulns'")
    assert (well, words) == (False, "pip-audit failed:\nKeyError: 'vulns'")
