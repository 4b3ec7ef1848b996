"""From a list of videos to the frames that encoders see: lists, files, sampling, decoding."""

import lazy_loader

# What is exported stands in __init__.pyi, and is imported when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
