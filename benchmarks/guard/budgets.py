"""The budgets of the hot paths: ``budgets.json``, the environment that they were counted in, and the verdict."""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from .count import CALLGRIND, INTERPRETER

FILE = Path(__file__).parent / "budgets.json"
PACKAGES = ("orjson", "websocket-client", "websockets")
RENEW = "python -m benchmarks.guard --renew"
Counts = dict[str, dict[str, float]]


def environment(meter: str) -> dict[str, str]:
    """Return what the counts of a meter depend on besides the code of this package.

    The instructions of the interpreter depend on the minor version of Python: the libraries do their work in C. Machine
    instructions depend on the builds of all of them.
    """
    if meter == INTERPRETER:
        return {"python": f"{platform.python_implementation()} {sys.version_info[0]}.{sys.version_info[1]}"}
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()} ({platform.python_compiler()})",
        "libc": " ".join(platform.libc_ver()),
        **versions(),
    }


def versions() -> dict[str, str]:
    """Return the installed version of each package that takes part."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


@dataclass
class Verdict:
    """The result of a comparison.

    Attributes:
        failures: a sentence for each budget that is exceeded, and for each path without one.
        notes: a sentence for each budget that could be lower.
    """

    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Budgets:
    """The budgets in a file.

    Args:
        file: the file; see `FILE` for its form.
    """

    def __init__(self, file: Path = FILE) -> None:
        self._file = file
        self._data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))

    def not_checked(self, meter: str) -> str | None:
        """Return why the budgets of a meter do not apply here, ``None`` if they do."""
        if self.find(meter) is not None:
            return None
        here = _listed(environment(meter))
        known = "; ".join(_listed(entry["environment"]) for entry in self._data[meter])
        return f"there is no budget for {here} (there is one for: {known or 'nothing'})"

    def find(self, meter: str) -> Counts | None:
        """Return the budgets of a meter that apply here, by path and kind."""
        for entry in self._data[meter]:
            if entry["environment"] == environment(meter):
                budgets: Counts = entry["budgets"]
                return budgets
        return None

    def compare(self, meter: str, counts: Counts) -> Verdict:
        """Compare counts with the budgets of a meter."""
        budgets, verdict = self.find(meter) or {}, Verdict()
        for path, kinds in counts.items():
            for kind, count in kinds.items():
                budget = budgets.get(path, {}).get(kind)
                if budget is None:
                    verdict.failures.append(f"{path}: there is no budget of {kind}. {RENEW} sets one.")
                    continue
                tolerance = self._data["tolerance, per cent"][kind]
                more = (count / budget - 1) * 100 if budget else 0.0 if not count else 100.0
                text = f"{path}: {count:.10g} {kind}, the budget is {budget:.10g}: {more:+.1f} %"
                if more > tolerance:
                    verdict.failures.append(
                        f"{text} (allowed: +{tolerance:g} %). If that is intended, renew the budgets with `{RENEW}`, "
                        "and say why in the commit."
                    )
                elif more < -tolerance:
                    verdict.notes.append(f"{text}. `{RENEW}` keeps what was gained.")
        for path in budgets.keys() - counts.keys():
            verdict.failures.append(f"{path}: it has a budget, and was not counted. {RENEW} drops it.")
        return verdict

    def renew(self, meter: str, counts: Counts) -> None:
        """Write counts as the budgets that apply here."""
        here = environment(meter)
        entries = [entry for entry in self._data[meter] if entry["environment"] != here]
        entry = {"environment": here, "budgets": counts}
        if meter == INTERPRETER:
            entry["counted with"] = {"python": platform.python_version(), **versions()}
        self._data[meter] = sorted([*entries, entry], key=lambda entry: _listed(entry["environment"]))
        self._file.write_text(json.dumps(self._data, indent=1) + "\n", encoding="utf-8")


def _listed(values: dict[str, str]) -> str:
    return ", ".join(value if name in ("python", "libc") else f"{name} {value}" for name, value in values.items())


METERS = (INTERPRETER, CALLGRIND)
