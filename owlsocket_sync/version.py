"""The version of what is installed, as its metadata tells it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("owlsocket-sync")
except PackageNotFoundError:  # a copy of the folder that nobody installed
    __version__ = "0+unknown"
