"""Make durable jobs of brokers' messages and of HTTP requests."""
