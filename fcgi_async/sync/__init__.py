"""A dispatcher for threads, for code that does not await: scripts, Flask, Django's sync views."""

from fcgi_async.sync.dispatcher import Dispatcher
from fcgi_async.sync.future import JobFuture
from fcgi_async.sync.outcomes import OutcomeIterator
from fcgi_async.sync.php_function import PHPFunction
from fcgi_async.sync.stream import ResponseStream
from fcgi_async.sync.view import View

__all__ = ("Dispatcher", "JobFuture", "OutcomeIterator", "PHPFunction", "ResponseStream", "View")
