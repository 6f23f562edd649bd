"""The Admin API: Kong's paths, answers and errors over the state of the control process.

`endpoints` turns path tables into an ASGI application, `paths` finds the endpoint of a path, `responses` has
Kong's headers and error bodies, `bodies` reads requests.

The endpoints of entities are made from their catalogue: `collections` is the table of paths, `entities` what
their methods do, `naming` how entities are named in paths, `forms` what form fields mean, `lists` and
`paging` the pages. Then one module per special endpoint, each with a function that gives its `Endpoint`s.
"""
