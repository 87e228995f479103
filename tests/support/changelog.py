"""CHANGELOG.md, read by the rules of Keep a Changelog: versions, their dates, and what changed in which way."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

FILE = Path(__file__).parents[2] / "CHANGELOG.md"
KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
UNRELEASED = "unreleased"
VERSION = re.compile(r"## \[(?P<version>\d+\.\d+\.\d+)\] - (?P<when>unreleased|\d{4}-\d\d-\d\d)")


@dataclass
class Release:
    """One version.

    Attributes:
        version: as numbers, that can be compared.
        date: of its release; ``None`` while it is still to come.
        changes: by their kind, one text each.
    """

    version: tuple[int, ...]
    date: date | None
    changes: dict[str, list[str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The version as people write it."""
        return ".".join(map(str, self.version))


def releases_of(text: str) -> list[Release]:
    """The versions of a changelog, the newest first.

    Raises:
        ValueError: a line is not what the rules want; the message tells which, and what they want.
    """
    releases: list[Release] = []
    lines = text.splitlines()
    _require(lines[:1] == ["# Changelog"], 1, "the first line is '# Changelog'")
    for number, line in enumerate(lines[1:], start=2):
        if line.startswith("## "):
            releases.append(_release(number, line, releases))
        elif releases and line.strip():
            _take(number, line, releases[-1])
    for release in releases:
        empty = [kind for kind, changes in release.changes.items() if not changes]
        _require(bool(release.changes) and not empty, 0, f"{release.name} says what changed {empty or ''}".strip())
    _require(bool(releases), len(lines), "there is a version")
    return releases


def _release(number: int, line: str, before: list[Release]) -> Release:
    heading = VERSION.fullmatch(line)
    if heading is None:
        raise ValueError(f"line {number}: a version is '## [1.2.3] - 2030-12-31', or '- unreleased': {line!r}")
    when = None if heading["when"] == UNRELEASED else date.fromisoformat(heading["when"])
    release = Release(tuple(map(int, heading["version"].split("."))), when)
    _require(when is not None or not before, number, "only the newest version may be unreleased")
    if before:
        _require(release.version < before[-1].version, number, "versions go down")
        _require(before[-1].date is None or (when is not None and when <= before[-1].date), number, "dates go down")
    return release


def _take(number: int, line: str, release: Release) -> None:
    if line.startswith("### "):
        kind = line.removeprefix("### ")
        _require(kind in KINDS, number, f"a kind of change is one of {', '.join(KINDS)}")
        _require(kind not in release.changes, number, "each kind of change stands once in a version")
        release.changes[kind] = []
    elif line.startswith("- "):
        _require(bool(release.changes), number, "a change has a kind, such as '### Added'")
        list(release.changes.values())[-1].append(line.removeprefix("- "))
    else:
        under = list(release.changes.values())[-1] if release.changes else []
        _require(line.startswith("  ") and bool(under), number, "a change begins with '- ', and goes on indented")
        under[-1] += f" {line.strip()}"


def _require(holds: bool, line: int, rule: str) -> None:
    if not holds:
        raise ValueError(f"line {line}: {rule}" if line else rule)
