"""Counts the instructions of the interpreter and the system calls of all threads of this process.

Instructions are the opcode events of `sys.settrace`; code of the benchmarks is not counted. A trace sees the original
instructions also where the interpreter has specialized them, so the count does not depend on what ran before. System
calls are those of sockets, of `select`, and those by which a thread sleeps or wakes another one: each is a few
instructions, and costs more than hundreds of others.
"""

from __future__ import annotations

import itertools
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

BENCHMARKS = str(Path(__file__).parents[1])
SOCKET_METHODS = ("send", "sendall", "sendmsg", "recv", "recv_into", "recvmsg", "recvmsg_into")
POLLING = {"epoll": ("poll", "register", "modify", "unregister"), "poll": ("poll",)}
CALLS = ((select, "select"), (os, "eventfd_read"), (os, "eventfd_write"), (time, "sleep"))
SETTLED = 0.004
THREAD_BEGINS = threading.Thread.run.__code__
MONITOR = os.path.join("runtime", "monitor.py")
"""The thread of this file looks at a clock: how often depends on the time that the others take."""


class InterpreterMeter:
    """Counts from `install` on; that comes before the library is imported, and starts a thread that lives on."""

    def __init__(self) -> None:
        # Builtins: a thread cannot be interrupted between reading and writing a count.
        self._instruction = itertools.count().__next__
        self._system_call = itertools.count().__next__
        self._sleep = time.sleep  # the uncounted one
        self._monitors: set[int] = set()

    def install(self) -> None:
        """Trace this thread and all that start from now on, and wrap the system calls."""
        for name in SOCKET_METHODS:
            setattr(socket.socket, name, self._counted(getattr(socket.socket, name)))
        for module, name in CALLS:
            if hasattr(module, name):
                setattr(module, name, self._counted(getattr(module, name)))
        for name, methods in POLLING.items():
            if hasattr(select, name):
                setattr(select, name, self._counted_object(getattr(select, name), methods))
        threading.settrace(self._on_call)
        sys.settrace(self._on_call)

    def start(self) -> None:
        """Do nothing: it counts already."""

    def count(self, run: Callable[[], object]) -> tuple[int, int]:
        """Return the instructions and the system calls of a run, on all threads, until they wait again."""
        instructions, system_calls = self._instruction(), self._system_call()
        run()
        after, called = self._instruction(), self._system_call()
        while True:
            self._sleep(SETTLED)
            now, called_now = self._instruction(), self._system_call()
            # Reading a count advances it by one.
            if now == after + 1:
                break
            instructions += 1
            system_calls += 1
            after, called = now, called_now
        return after - instructions - 1, called - system_calls - 1

    def _on_call(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename.startswith(BENCHMARKS):
            return None
        if frame.f_code is THREAD_BEGINS:  # under the number of a thread that has ended, perhaps
            self._monitors.discard(threading.get_ident())
        elif frame.f_code.co_name == "_run" and frame.f_code.co_filename.endswith(MONITOR):
            self._monitors.add(threading.get_ident())
        if threading.get_ident() in self._monitors:
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return self._on_opcode

    def _on_opcode(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode":
            self._instruction()
        return self._on_opcode

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            if threading.get_ident() not in self._monitors:
                self._system_call()
            return function(*arguments, **options)

        return counted

    def _counted_object(self, make: Callable[..., Any], methods: tuple[str, ...]) -> Callable[..., Any]:
        def made(*arguments: Any) -> Any:
            return _Counted(make(*arguments), methods, self._counted)

        return made


class _Counted:
    """An object some of whose methods are counted."""

    def __init__(
        self, real: Any, methods: tuple[str, ...], counted: Callable[[Callable[..., Any]], Callable[..., Any]]
    ) -> None:
        self._real = real
        for name in methods:
            setattr(self, name, counted(getattr(real, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
