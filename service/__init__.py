"""The service: requests in, PNG images out.

    http       requests and answers                       the HTTP process, which never imports torch
    front      accepted work, from its entry to its end
    workers    processes that hold the models             ═══ the process border runs through this room
    engine     admit → step → retire                      the worker process
    wire       what the two sides say to each other
    image      PNG and receipt            telemetry      logs, traces, metrics
    commands   the sub-commands of `dit`

Imports go down this list; `image`, `telemetry`, `errors` and `settings` are leaves, and `wire` is everybody's
vocabulary. Knows no tensor: what is computed lies behind the door that `engine` declares.
"""
