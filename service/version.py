"""The version of this build. Knows nothing else."""

from importlib import metadata


def version() -> str:
    """The installed version, "0+unknown" when run from a tree that is not installed."""
    try:
        return metadata.version("dit-serve")
    except metadata.PackageNotFoundError:
        return "0+unknown"
