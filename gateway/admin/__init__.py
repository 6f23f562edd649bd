"""The Admin API: Kong's paths, answers and errors over the state of the control process.

`endpoints` turns path tables into an ASGI application, `responses` has Kong's headers and error bodies,
`bodies` reads requests; then one module per special endpoint, each with a function that gives its
`Endpoint`s.
"""
