"""The version of this build. Knows nothing else."""


def version() -> str:
    """The installed version, "0+unknown" when run from a tree that is not installed."""
    from importlib import metadata  # half of all that the command line imports before it can take a signal

    try:
        return metadata.version("dit-serve")
    except metadata.PackageNotFoundError:
        return "0+unknown"
