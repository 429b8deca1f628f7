"""HTTP: from the bytes of a request to those of its answer.

`app` puts the routes together, `server` runs them on sockets and signals; `generate` is the one endpoint that makes
images. Knows the front, and no worker, queue or tensor. Imported by the command line alone.
"""
