"""Worker processes: where they run, how they are started, watched and replaced, and what runs inside (`process`).

`process` alone is the worker's side of the border; all else lives in the HTTP process. Knows what a worker says, and
no job's fate and no HTTP. Imported by `front`, and by the server, which decides where workers run.
"""
