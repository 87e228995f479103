"""The reader of a page: a process that types its blocks into one Python, and into a shell beside it.

Runs as a script, and leads the process group of all that the page starts. It gets one JSON object a line: ``{"python":
source, "line": n}`` or ``{"shell": script, "to": path}``, and answers each with ``{"failed": why or null}``.
"""

from __future__ import annotations

import json
import linecache
import subprocess
import sys
import traceback
from typing import Any

PAGE = "<page>"


def type_python(namespace: dict[str, Any], source: str, line: int) -> str | None:
    """Run a block; returns the traceback where it fails. Lines are counted as the page counts them."""
    shown = "\n" * (line - 1) + source + "\n"
    name = f"<page {line}>"
    linecache.cache[name] = (len(shown), None, shown.splitlines(keepends=True), name)
    try:
        exec(compile(shown, name, "exec", dont_inherit=True), namespace)
    except SystemExit as error:
        return f"it left: {error}" if error.code else None
    except BaseException:
        return traceback.format_exc()
    return None


def type_shell(script: str, to: str) -> str | None:
    """Run a script; returns what is wrong with its end. What stays behind it goes on writing to the same file."""
    with open(to, "ab") as output:
        code = subprocess.call(["bash", "-e", "-c", script], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    return f"it ended with {code}" if code else None


def main() -> None:
    """Type what comes, until nothing does."""
    sys.path[0] = ""
    answers = open(int(sys.argv[1]), "w", encoding="utf-8")  # noqa: SIM115 - as long as this process
    commands = open(int(sys.argv[2]), encoding="utf-8")  # noqa: SIM115
    namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    for line in commands:
        command = json.loads(line)
        if "python" in command:
            failed = type_python(namespace, command["python"], command["line"])
        else:
            failed = type_shell(command["shell"], command["to"])
        sys.stdout.flush()
        answers.write(json.dumps({"failed": failed}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
