"""What the gateway would do with a request: which route, which plugins, which target, and why not the others.

    explainer = Explainer(plane)
    found = explainer.explain(parse_request("GET", "http://a.test/users", [("X-Version", "2")]), Client())

The answer comes from the snapshot files that the workers map, through their own code (native/dry_run.pyx),
so that it cannot be another one than theirs. Only the reasons are found out here.
"""

from gateway.explain.explainer import Explainer
from gateway.explain.request import Client, ExplainedRequest, InvalidRequest, parse_request

__all__ = ["Client", "ExplainedRequest", "Explainer", "InvalidRequest", "parse_request"]
