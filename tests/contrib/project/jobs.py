"""The Celery app of the project, and its tasks."""

from __future__ import annotations

import os
import sys

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "contrib.project.settings")

app = Celery("shop", broker="filesystem://")
app.conf.broker_transport_options = dict.fromkeys(
    ("data_folder_in", "data_folder_out", "control_folder"), os.environ["QUEUE_FOLDER"]
)
app.conf.task_ignore_result = True


@app.task  # type: ignore[untyped-decorator]
def double(number: int) -> None:
    """Call the server, which records the process and the number."""
    from owlsocket_sync.contrib.django import client

    assert client.call("double", os.getpid(), number) == 2 * number


if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        app.send_task("contrib.project.jobs.double", [number])
