"""The Admin API: Kong's paths, answers and errors over the state of the control process (`app`).

`guard` stands before everything: `access` (tokens), `browsers` (other sites' pages), `audit` (what is written
down). `endpoints` turns path tables into an ASGI application, `paths` finds the endpoint of a path, `bodies`
reads requests, `responses` has Kong's headers and error bodies.

The endpoints of entities are made from their catalogue: `collections` is the table of paths, `entities` what
their methods do, `naming` how entities are named in paths, `forms` what form fields mean, `entity_form` how
entities are shown, `lists` and `paging` the pages. `kong_schemas` and `json_schemas` make schemas of the same
declarations; `openapi` makes its document of them and of the `descriptions` beside the handlers
(`entity_descriptions`). Then one module per special endpoint, with a function that gives its `Endpoint`s.
"""
