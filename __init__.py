"""focusgym: environments and agents that learn where a video recognizer should look."""

from importlib.metadata import version

__version__ = version("focusgym")
