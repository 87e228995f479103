"""A Celery app whose tasks publish through a hub that was made when it was loaded, before the workers were forked."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from celery import Celery

from owlsocket_sync.hub import open_hub
from support.helpers import eventually

app = Celery("hub_tasks", broker="filesystem://")
app.conf.broker_transport_options = dict.fromkeys(
    ("data_folder_in", "data_folder_out", "control_folder"), os.environ["QUEUE_FOLDER"]
)
app.conf.task_ignore_result = True
hub = open_hub(os.environ["HUB_URL"])
present = Path(os.environ["PRESENCE_FOLDER"])


@app.task  # type: ignore[untyped-decorator]
def tick(number: int) -> None:
    """Tell the clients of a room, and say which process does it, once two processes are at work."""
    (present / str(os.getpid())).touch()
    eventually(lambda: len(list(present.iterdir())) == 2, 30)
    hub.publish("tick", [os.getpid(), number], room="prices")


if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        app.send_task("hub_tasks.tick", [number])
