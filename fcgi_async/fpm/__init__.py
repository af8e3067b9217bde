"""PHP-FPM itself: its status page, its configuration, and a private instance of it."""

from fcgi_async.fpm.local import LocalFPM

__all__ = ("LocalFPM",)
