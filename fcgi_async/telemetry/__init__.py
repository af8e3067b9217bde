"""Telemetry for OpenTelemetry and Prometheus; each module needs the extra of its name, and is imported by no other."""
