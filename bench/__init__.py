"""Speed of the gateway, measured: scenarios, peers' configurations, report writer and comparer.

`python -m bench run` starts a backend, the gateway and the peers that are installed, drives them in turn
with wrk and writes a JSON report; `python -m bench compare A.json B.json` tells what changed by more than
the noise. What is measured and how is said in `bench/README.md`.
"""
