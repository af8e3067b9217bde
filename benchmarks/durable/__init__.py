"""What durable jobs cost, beside the same jobs in memory: `python -m benchmarks.durable`."""
