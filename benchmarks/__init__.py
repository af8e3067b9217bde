"""What jobs cost, measured side by side with other ways to run PHP: `python -m benchmarks`."""
