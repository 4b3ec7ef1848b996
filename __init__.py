"""focusgym: environments and agents that learn where a video recognizer should look."""

__version__: str


def __getattr__(name: str) -> str:
    """Look the version up where it is asked for: each process that decodes imports this."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version("focusgym")
