"""A small backend that echoes requests as JSON, for the quick start: `python -m gateway.demo --port 9080`."""
