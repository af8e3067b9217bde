"""A dispatcher on the PHP-FPM that the tests share."""

from tests.fpm.conftest import php

__all__ = ("php",)
