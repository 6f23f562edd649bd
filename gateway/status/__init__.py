"""The status listener: liveness, readiness and metrics, safe to show to a monitoring system."""
