"""The links of the package's page on an index; all else about this package stands in setup.cfg.

A package index shows README.md, where a relative link leads nowhere. So links become absolute, to the repository that
the environment variable OWLSOCKET_REPOSITORY names, such as https://github.com/owner/name. Without it, the words of a
link stay, and the link goes: a page without links is better than one with dead ones.
"""

import os
import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
LINK = re.compile(r"(?P<image>!?)\[(?P<words>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^()\s]+)\)")


def description(text: str, repository: str, version: str) -> str:
    """Return the README for a package index.

    Args:
        text: README.md.
        repository: the URL of the repository, empty if there is none.
        version: whose tag has the linked files.
    """

    def rewrite(link: re.Match[str]) -> str:
        words, target = link["words"], link["target"]
        if "://" in target or target.startswith("#"):
            return link[0]
        if not repository:
            return "" if link["image"] else words
        kind = "raw" if link["image"] else "tree" if (ROOT / target).is_dir() else "blob"
        return f"{link['image']}[{words}]({repository}/{kind}/v{version}/{target})"

    # A block of code is shown as it is.
    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else LINK.sub(rewrite, part) for part in parts)


def project_urls(repository: str, version: str) -> dict[str, str]:
    """Return the links beside the description."""
    if not repository:
        return {}
    return {
        "Source": repository,
        "Documentation": f"{repository}/blob/v{version}/docs/index.md",
        "Changelog": f"{repository}/blob/v{version}/CHANGELOG.md",
        "Issues": f"{repository}/issues",
    }


if __name__ == "__main__":
    configuration = ConfigParser()
    configuration.read(ROOT / "setup.cfg", encoding="utf-8")
    version = configuration["metadata"]["version"]
    repository = os.environ.get("OWLSOCKET_REPOSITORY", "").rstrip("/")
    setup(
        long_description=description((ROOT / "README.md").read_text(encoding="utf-8"), repository, version),
        project_urls=project_urls(repository, version),
    )
