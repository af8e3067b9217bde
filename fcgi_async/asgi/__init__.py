"""For ASGI services: a dispatcher for the application's lifetime, client disconnects, errors as responses, and health.

`PHPApplication` is a complete application: a folder of PHP scripts and static files.

It is pure ASGI and needs no framework; `docs/asgi.md` shows it with Starlette, FastAPI and a bare application.
"""

from fcgi_async.asgi.disconnect import CancelOnDisconnect
from fcgi_async.asgi.error_responses import STATUSES, ErrorResponses
from fcgi_async.asgi.health import HealthRoutes, Readiness, readiness
from fcgi_async.asgi.lifespan import DispatcherLifespan, lifespan
from fcgi_async.asgi.php_application.application import PHPApplication
from fcgi_async.asgi.php_application.rules import HIDDEN

__all__ = (
    "HIDDEN",
    "STATUSES",
    "CancelOnDisconnect",
    "DispatcherLifespan",
    "ErrorResponses",
    "HealthRoutes",
    "PHPApplication",
    "Readiness",
    "lifespan",
    "readiness",
)
