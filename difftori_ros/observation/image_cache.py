# SPDX-License-Identifier: MIT
"""Images as the policy takes them: rectified, cropped and resized, each of the newest once."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np

from difftori_models.contract.specs import ImageSpec
from difftori_ros.types import Image

from .image import ImageError, process_image
from .rectify import Lens


class ImageCache:
    """Processes images, and keeps the newest results. Called by the planning thread."""

    def __init__(self, specs: Mapping[str, ImageSpec], depth: int):
        """Nothing is processed yet.

        Args:
            specs: The image that the policy takes of each camera.
            depth: Results kept of each camera.
        """
        self._specs = specs
        self._lenses: dict[str, Lens] = {}
        self._results: dict[str, deque[tuple[Image, np.ndarray]]] = {
            camera: deque(maxlen=depth) for camera in specs
        }

    def set_lens(self, camera: str, lens: Lens) -> None:
        """The calibration of a camera, for checkpoints that want its images rectified."""
        self._lenses[camera] = lens

    def image(self, camera: str, picture: Image) -> np.ndarray:
        """That picture processed, shape (H, W, 3); once, as long as it is among the newest.

        Raises:
            ImageError: It cannot be used.
        """
        for done, image in self._results[camera]:
            if done is picture:
                return image
        try:
            image = process_image(picture.rgb, self._specs[camera], self._lenses.get(camera))
        except ImageError as error:
            raise ImageError(f"'{camera}': {error}", error.reason) from error
        self._results[camera].append((picture, image))
        return image
