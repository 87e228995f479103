"""A Celery app whose tasks call on the connection that was made when it was loaded."""

from __future__ import annotations

import os
import sys

from celery import Celery

from owlsocket_sync import connect

app = Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = dict.fromkeys(
    ("data_folder_in", "data_folder_out", "control_folder"), os.environ["QUEUE_FOLDER"]
)
app.conf.task_ignore_result = True
connection = connect(os.environ["OWLSOCKET_URL"], timeout=20)


@app.task  # type: ignore[untyped-decorator]
def double(number: int) -> None:
    """Ask the server; it takes note of who asked, and of what."""
    assert connection.call("double", os.getpid(), number, timeout=20) == 2 * number


if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        app.send_task("tasks.double", [number])
