"""The sub-commands of `dit`, one module each with `add_arguments(parser)` and `run(options) -> exit status`.

`making` and `dataclass_flags` are what several of them share.
"""
