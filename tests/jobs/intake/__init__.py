"""Messages that become durable jobs."""
