"""Sockets: addresses, connecting, listening, and transports for asyncio and trio."""
