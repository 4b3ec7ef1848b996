"""Videos that are folders of numbered images, or one image."""

from __future__ import annotations

import os
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ...recognizer import in_words
from ...recognizer.files.regular import open_regular
from ...recognizer.limits import MOST_PIXELS
from .container import VideoError

# Pillow's readers that read pixels and nothing else: that of EPS runs another program.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF", "GIF", "JPEG2000", "TGA", "MPO")
# What they raise of files that are damaged.
UNREADABLE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError),
    *(struct.error, AttributeError, NotImplementedError, MemoryError),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)


def read_images(folder: str, template: str, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Read images of a folder, or one image, turned as their EXIF orientation says.

    Args:
        folder: The folder; or the image.
        template: Of the images' names, such as ``image_%05d.jpg``, counted from 1; empty for an
            image.
        indices: ``(T,)`` int64, counted from 0; of an image all of them are 0.

    Returns:
        ``(T, height, width, 3)`` uint8.

    Raises:
        VideoError: If an image cannot be read, or if they are of different sizes.
    """
    images = {}
    for index in np.unique(indices).tolist():
        name = os.path.join(folder, template % (index + 1)) if template else folder
        try:
            with open_regular(name) as file, Image.open(file, formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise ValueError(
                        f"it has {image.width}×{image.height} px, expected at most "
                        f"{MOST_PIXELS:,} pixels"
                    )
                images[index] = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except UNREADABLE as error:
            raise VideoError(
                f"{name} cannot be read ({in_words(error)}): replace the image, or leave "
                f"{'its folder' if template else 'it'} out"
            ) from error
    sizes = {image.shape for image in images.values()}
    if len(sizes) > 1:
        raise VideoError(
            f"{folder} holds images of different sizes ({sorted(sizes)}): extract them again "
            "with one size"
        )
    return np.stack([images[index] for index in indices.tolist()])
