"""For ASGI services: a dispatcher that lives as long as the application, disconnects, and errors as responses.

Pure ASGI, no framework is needed; `docs/asgi.md` shows it with Starlette, FastAPI and a bare application.
"""

from fcgi_async.asgi.disconnect import CancelOnDisconnect
from fcgi_async.asgi.error_responses import STATUSES, ErrorResponses
from fcgi_async.asgi.lifespan import DispatcherLifespan, lifespan

__all__ = ("STATUSES", "CancelOnDisconnect", "DispatcherLifespan", "ErrorResponses", "lifespan")
