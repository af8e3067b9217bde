"""Telemetry for OpenTelemetry and Prometheus; each module needs the extra of its name, and nothing imports them."""
