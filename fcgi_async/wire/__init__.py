"""FastCGI as bytes and events: no input or output, no clock, no event loop, no sockets."""
