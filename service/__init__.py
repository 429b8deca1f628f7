"""The service: requests in, PNG images out.

Knows HTTP, queues, processes and the command line. Does *not* know tensors: whatever is
computed lies behind the door that `service.engine` declares, and only `service.door` and
the commands open it.

    api → front ═(process border: wire)═ worker → engine → queue, door → png
"""
