"""Sluicegate: an API gateway that speaks Kong's configuration, with a native request path.

Everything in this package is off the request path; `native` is on it.
"""

__version__ = "0.1.0"
KONG_VERSION = "3.9.1"
"""The Kong version whose Admin API and configuration are spoken."""
