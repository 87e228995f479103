"""All there is to say about this package stands in setup.cfg."""

from setuptools import setup

setup()
