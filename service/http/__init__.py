"""HTTP: from the bytes of a request to those of its answer.

`app` puts the routes together, `server` runs them on sockets and signals; `generate` makes the images of a request,
`batch` those of many, and `web` has the files that a browser runs. Knows the front, and no worker, queue or tensor.
Imported by the command line alone.
"""
