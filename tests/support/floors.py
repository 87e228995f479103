"""The lowest versions that setup.cfg allows, of what this package runs with: ``python -m support.floors``.

In ``tests``; with ``--write`` it writes the table in ``docs/compatibility.md``.
"""

from __future__ import annotations

import re
import sys

from support.distribution import ROOT, declared

CORE = "core"
EXTRAS = ("auth", "server", "cli", "redis", "flask", "django", "jupyter", "otel", "prometheus")
ELSEWHERE = {"django", "ipython", "ipywidgets", "matplotlib", "pandas", "tqdm"}
"""Django has its own test, `tests/contrib/django/versions.sh`; old libraries of notebooks warn beside new ones."""

REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[\w,]+\])?>=([\d.]+)")
PAGE = ROOT / "docs" / "compatibility.md"
TABLE = re.compile(r"(?<=<!-- floors -->\n).*?(?=<!-- end of floors -->)", re.DOTALL)
HEAD = "| part | libraries, with the lowest version |\n|---|---|\n"


def floors() -> dict[str, dict[str, str]]:
    """The lowest version of each library, by its name, by the part of the package that needs it."""
    setup = declared()
    parts = {CORE: setup["options"]["install_requires"]}
    parts |= {extra: setup["options.extras_require"][extra] for extra in EXTRAS}
    return {part: dict(REQUIREMENT.findall(text)) for part, text in parts.items()}


def pinned() -> list[str]:
    """The requirements that install all of them, as low as they may be."""
    lowest = {name: version for part in floors().values() for name, version in part.items()}
    lowest["opentelemetry-sdk"] = lowest["opentelemetry-api"]  # it is of no use with another version of the API
    return [f"{name}=={version}" for name, version in sorted(lowest.items()) if name not in ELSEWHERE]


def page() -> str:
    """The page of compatibility, with the table as it should be."""
    rows = [
        f"| {'the client' if part == CORE else f'`[{part}]`'} | "
        + ", ".join(f"{name} {version}" for name, version in sorted(lowest.items()))
        + " |\n"
        for part, lowest in floors().items()
    ]
    return TABLE.sub(lambda _: HEAD + "".join(rows), PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print("\n".join(pinned()))
