"""The application under test, as uvicorn loads it: `tests.apps.service:app`."""

from __future__ import annotations

import json
import os

from fcgi_async import Dispatcher
from fcgi_async.asgi import PHPApplication

app = PHPApplication(
    os.environ["ROOT"],
    dispatcher=lambda: Dispatcher(os.environ["FPM"], max_children=4),
    front=os.environ["FRONT"],
    server_software=os.environ["SOFTWARE"],
    **json.loads(os.environ.get("OPTIONS", "{}")),
)
