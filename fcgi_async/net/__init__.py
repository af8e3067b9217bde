"""Sockets: addresses, dialling, transports for asyncio and trio, and one live connection."""
