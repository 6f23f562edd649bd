"""The whole story: a gateway as it is used, with everything on, under a load that looks real (README.md)."""
