"""Look up known vulnerabilities of what we depend on: ``python -m support.advisories SITE_PACKAGES``, in ``tests``."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

SECONDS = 60.0
OURS = "owlsocket-sync"
OFFLINE = (
    "ConnectionError",
    "ConnectTimeout",
    "ReadTimeout",
    "ProxyError",
    "SSLError",
    "Max retries exceeded",
    "Could not connect",
    "503 Server Error",
)


def verdict(report: str, complaints: str) -> tuple[bool, str]:
    """Whether all is well, and in words, of the JSON that pip-audit wrote and of what it complained about.

    That nobody could be asked is well: it says nothing about the packages. An audit that fails in another way is not.
    """
    if not report.strip():
        if any(sign in complaints for sign in OFFLINE):
            return True, "skipped: the advisories cannot be reached from here"
        return False, f"pip-audit failed:\n{complaints}"
    packages = [package for package in json.loads(report)["dependencies"] if package["name"] != OURS]
    known = [package for package in packages if "skip_reason" not in package]
    found = [
        f"{package['name']} {package['version']}: {flaw['id']}, "
        f"fixed in {', '.join(flaw['fix_versions']) or 'no version'}"
        for package in known
        for flaw in package["vulns"]
    ]
    if found:
        return False, "\n".join(found)
    if not known:
        return True, "skipped: whoever is asked for advisories here knows none of our dependencies"
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    beside = f"; nothing is known of {', '.join(unknown)}" if unknown else ""
    return True, f"no known vulnerability in {len(known)} packages{beside}"


def main(site_packages: str) -> int:
    """Audit what is installed in a folder."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.json")
        command = [sys.executable, "-m", "pip_audit", "--path", site_packages, "--progress-spinner", "off"]
        command += ["--format", "json", "--output", str(report)]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
            complaints = ran.stderr
        except subprocess.TimeoutExpired:
            complaints = f"ConnectTimeout: no answer within {SECONDS:g} s"
        well, words = verdict(report.read_text(encoding="utf-8") if report.exists() else "", complaints)
    print(words)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
