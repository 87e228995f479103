"""Programs see the names that they import: in tracebacks, pickles, ``help()`` and ``dir()``, and no others."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
import pydoc
import re
import subprocess
import sys
from enum import Enum
from importlib import import_module
from typing import Any, get_type_hints

import pytest

import owlsocket_sync
from owlsocket_sync import AuthError, CloseInfo, Limits, Message, MissingExtra, SocketConnectionError, SocketTimeout
from owlsocket_sync.hub import Member
from support.helpers import load

PARTS = ("auth", "context", "errors", "hub", "server", "stores", "testing")
CONTRIB = ("django", "flask", "jupyter", "otel", "prometheus")
PUBLIC = [
    "owlsocket_sync",
    *(f"owlsocket_sync.{part}" for part in PARTS),
    *(f"owlsocket_sync.contrib.{part}" for part in CONTRIB),
]


def exports(package: str) -> dict[str, Any]:
    """The classes and functions that a package exports."""
    module = import_module(package)
    values = {name: getattr(module, name) for name in module.__all__}
    return {name: value for name, value in values.items() if inspect.isclass(value) or inspect.isfunction(value)}


CLASSES = {
    value
    for package in PUBLIC
    if "contrib" not in package
    for value in exports(package).values()
    if inspect.isclass(value)
}


def run(script: str) -> subprocess.CompletedProcess[str]:
    """Run a program."""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("package", PUBLIC)
def test_what_is_exported_shows_a_name_by_which_it_can_be_imported(package: str) -> None:
    """Its module is a public one, and has it under its name."""
    for name, value in exports(package).items():
        assert value.__module__ in PUBLIC, name
        assert getattr(import_module(value.__module__), value.__name__) is value


def test_a_traceback_names_an_error_as_programs_import_it() -> None:
    """Also in a program that has imported ``connect`` alone; so does the type of a connection."""
    seen = run("from owlsocket_sync import connect; connect('ws://127.0.0.1:1', reconnect=None, timeout=5)")
    assert seen.stderr.splitlines()[-1].startswith("owlsocket_sync.SocketConnectionError: ")
    script = "from owlsocket_sync import connect; import owlsocket_sync.connection as it; print(it.Connection)"
    assert run(script).stdout.strip() == "<class 'owlsocket_sync.Connection'>"


@pytest.mark.parametrize("cls", sorted(CLASSES, key=repr), ids=lambda cls: cls.__name__)
def test_a_class_is_pickled_by_its_public_name(cls: type) -> None:
    """A version of this library with other modules can read it."""
    data = pickle.dumps(cls, 0)
    assert data.startswith(f"c{cls.__module__}\n{cls.__name__}\n".encode())
    assert pickle.loads(data) is cls


ERRORS = [
    SocketTimeout("too late"),
    SocketConnectionError("gone"),
    MissingExtra("install it", "orjson"),
    AuthError("no"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_survives_pickling(error: owlsocket_sync.ResilientError, protocol: int) -> None:
    """With its class, its text and its attributes, as worker processes hand it back."""
    error.sent = True
    copy = pickle.loads(pickle.dumps(error, protocol))
    assert type(copy) is type(error)
    assert (str(copy), copy.code, copy.sent) == (str(error), error.code, True)


@pytest.mark.parametrize("value", [Limits(), CloseInfo(1000, "bye"), Message(payload=1), Member("1-2", "ann", "s")])
def test_a_value_survives_pickling(value: object) -> None:
    """It is equal to what it was."""
    assert pickle.loads(pickle.dumps(value)) == value


HOMES = [
    ("errors.tree", "SocketTimeout"),
    ("errors.tree", "AuthenFailed"),
    ("errors.tree", "ResourceError"),
    ("errors.marshalled", "ResilientError"),
    ("options", "Limits"),
    ("states", "CloseInfo"),
    ("states", "ConnectionState"),
    ("states", "AuthStepResult"),
    ("protocol.messages", "EventMessage"),
    ("protocol.delivery", "Consumed"),
    ("protocol.hooks", "Outcome"),
    ("hub.values", "Member"),
    ("stores.base", "QueueStats"),
    ("auth.envelope", "Envelope"),
    ("auth.models", "Auth"),
]


@pytest.mark.parametrize(("module", "name"), HOMES, ids=[name for _, name in HOMES])
def test_a_pickle_of_an_earlier_version_can_be_read(module: str, name: str) -> None:
    """It has the module that defines the class."""
    cls = pickle.loads(f"cowlsocket_sync.{module}\n{name}\n.".encode())
    assert cls.__name__ == name


# Those of these two name classes that their module does not import at run time.
OPTIONS = {owlsocket_sync.ClientOptions, import_module("owlsocket_sync.server").ServerOptions}
RECORDS = sorted((cls for cls in CLASSES - OPTIONS if dataclasses.is_dataclass(cls)), key=repr)


@pytest.mark.parametrize("cls", RECORDS, ids=lambda cls: cls.__name__)
def test_the_types_of_fields_can_still_be_found(cls: type) -> None:
    """By tools that look for the names of annotations in the module of a class; subclasses of programs as well."""
    hints = get_type_hints(cls)
    assert {field.name for field in dataclasses.fields(cls)} <= set(hints)
    assert get_type_hints(type("Mine", (cls,), {})) == hints
    # As `dataclasses_json` calls it.
    assert get_type_hints(cls, vars(sys.modules[cls.__module__])) == hints


def test_help_begins_with_what_a_program_imports() -> None:
    """It tells where to read on, and names no internal module but in the list of all modules."""
    seen = run("import owlsocket_sync, pydoc; print(pydoc.render_doc(owlsocket_sync, renderer=pydoc.plaintext))")
    start, _, rest = seen.stdout.partition("PACKAGE CONTENTS")
    for name in ("connect", "Connection", "SocketTimeout", *(f"owlsocket_sync.{part}" for part in PARTS[:-2])):
        assert name in start
    shown = rest.partition("\nCLASSES")[2]
    assert shown
    named = set(re.findall(r"\bowlsocket_sync(?:\.[a-z_]+)+\b", shown))
    assert {name for name in named if f"class {name}." in shown} == set()


def test_dir_shows_what_is_exported_and_nothing_else() -> None:
    """No leftovers of the module, and of the modules only public ones that were imported."""
    script = "import owlsocket_sync as o; print(*(n for n in dir(o) if not n.startswith('__')))"
    assert set(run(script).stdout.split()) == set(owlsocket_sync.__all__)
    script = f"import owlsocket_sync.server, owlsocket_sync.auth; {script}"
    assert set(run(script).stdout.split()) == {*owlsocket_sync.__all__, "auth", "server", "errors", "hub"}


@pytest.mark.parametrize("part", [each for each in PUBLIC[1:] if each.rpartition(".")[2] not in ("otel", "prometheus")])
def test_dir_of_a_part_shows_what_it_exports(part: str) -> None:
    """And nothing else."""
    module = import_module(part)
    assert {name for name in dir(module) if not name.startswith("__")} == set(module.__all__)


def test_the_import_loads_no_module_but_the_one_for_lazy_names() -> None:
    """Everything else is loaded with the first name that needs it."""
    seen = run(
        "import sys, owlsocket_sync; print(*(name for name in sys.modules if name.startswith('owlsocket_sync')))"
    )
    assert set(seen.stdout.split()) == {"owlsocket_sync", "owlsocket_sync.lazy"}
    seen = run("import sys; from owlsocket_sync import Limits; print('owlsocket_sync.client' in sys.modules)")
    assert seen.stdout.strip() == "False"


def test_help_of_a_class_has_its_public_name() -> None:
    """As its bases and its methods have."""
    text = pydoc.render_doc(SocketTimeout, renderer=pydoc.plaintext)  # type: ignore[attr-defined]
    assert "class SocketTimeout in module owlsocket_sync\n" in text
    assert "errors.tree" not in text
    text = pydoc.render_doc(owlsocket_sync.Connection, renderer=pydoc.plaintext)  # type: ignore[attr-defined]
    assert " from owlsocket_sync" not in text


INTERNAL = {
    "after_fork": "what `owlsocket_sync.fork` calls in a child",
    "close_at_exit": "what the end of the process calls",
    "attach": "of a hub, for its servers",
    "detach": "of a hub, for its servers",
    "open_bus": "of a hub, for its servers",
    "publish_text": "of a hub, for its servers",
}
"""The attributes that only this library uses, and that have public names: one part of it calls another by them."""


def public_attributes(cls: type) -> list[str]:
    """The public attributes of a class that are ours, without those of exported bases; its instances' included."""
    bases = (base for base in cls.__mro__ if base is cls or base not in CLASSES)
    ours = [base for base in bases if base.__module__.startswith("owlsocket_sync")]
    annotated = {name for base in ours for name in vars(base).get("__annotations__", ())}
    names = {name for base in ours for name in vars(base)} | annotated
    if dataclasses.is_dataclass(cls):  # Python 3.10 gives it slots for the fields of its bases as well
        names -= {field.name for field in dataclasses.fields(cls)} - annotated
    return sorted(name for name in names if not name.startswith("_") and name not in INTERNAL)


def described(cls: type, name: str) -> bool:
    """Whether the reference describes an attribute: it shows docstrings, fields, members of enumerations, and lists."""
    if dataclasses.is_dataclass(cls) and name in {field.name for field in dataclasses.fields(cls)}:
        return True
    if issubclass(cls, Enum) and name in cls.__members__:
        return True
    if any(re.search(rf"^ +{name}: ", base.__doc__ or "", re.MULTILINE) for base in cls.__mro__):
        return True
    value = inspect.getattr_static(cls, name, None)
    value = getattr(value, "__func__", value)
    return bool(getattr(value, "__doc__", None)) and not isinstance(value, (str, int, float, tuple, type(None)))


@pytest.mark.parametrize("cls", sorted(CLASSES, key=repr), ids=lambda cls: cls.__name__)
def test_a_public_attribute_is_one_that_was_decided_on(cls: type) -> None:
    """Each is in ``tests/vectors/public_names.json``, and the reference describes it.

    What only this library uses has a private name. A new attribute is added to the list, and to the reference.
    """
    assert public_attributes(cls) == load("public_names.json")[f"{cls.__module__}.{cls.__name__}"]
    assert [name for name in public_attributes(cls) if not described(cls, name)] == []


def test_an_attribute_that_is_public_by_accident_is_found() -> None:
    """The test above can fail."""

    class Leaky(owlsocket_sync.Instrument):
        """Has one that is not described."""

        def expire(self) -> None:
            pass

    Leaky.__module__ = "owlsocket_sync"
    assert public_attributes(Leaky) == ["expire"]
    assert not described(Leaky, "expire")


def test_the_list_of_public_names_has_no_class_that_is_gone() -> None:
    """It is about what is exported now."""
    assert {f"{cls.__module__}.{cls.__name__}" for cls in CLASSES} == set(load("public_names.json"))
