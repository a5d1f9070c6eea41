# SPDX-License-Identifier: MIT
"""A camera in a MuJoCo scene: its picture, and the cloud of what it sees."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from difftori_ros.types import Cloud

from .env import SuiteError


class MujocoCamera:
    """Pictures (size, size, 3) and clouds in the world's frame from one named camera."""

    def __init__(
        self,
        model: Any,
        data: Any,
        name: str,
        size: int,
        *,
        upside_down: bool = False,
        hidden: tuple[int, ...] = (),
    ) -> None:
        """Make a renderer.

        Args:
            model: The `mujoco.MjModel`.
            data: Its `mujoco.MjData`.
            name: The camera's name in the model.
            size: Rows and columns of a picture [px].
            upside_down: The camera hangs upside down, and its pictures are turned.
            hidden: Groups of geometry that are not drawn.

        Raises:
            SuiteError: Nothing renders here; the message says what is needed.
        """
        import mujoco

        self._model, self._data, self._size = model, data, size
        self._camera, self._upside_down = model.camera(name).id, upside_down
        self._shown = mujoco.MjvOption()  # type: ignore[attr-defined]
        for group in hidden:
            self._shown.geomgroup[group] = 0
        try:
            self._renderer = mujoco.Renderer(model, size, size)
        except (
            RuntimeError,
            AttributeError,
            ImportError,
            mujoco.FatalError,  # type: ignore[attr-defined]
        ) as error:
            raise SuiteError(
                f"MuJoCo cannot render with MUJOCO_GL={os.environ.get('MUJOCO_GL')} ({error}); "
                "install libegl1, or libosmesa6 and set MUJOCO_GL=osmesa"
            ) from error

    def picture(self) -> NDArray[np.uint8]:
        """What the camera sees now, RGB uint8."""
        self._renderer.disable_depth_rendering()
        picture = self._render()
        return picture[::-1, ::-1] if self._upside_down else picture

    def cloud(self, stamp_ns: int, frame: str) -> Cloud:
        """Every pixel as a coloured point of the world.

        A pinhole camera: focal length [px] from its vertical field of view; it looks along its
        own -z axis with y upwards (MuJoCo's documentation, "Cameras").
        """
        self._renderer.disable_depth_rendering()
        rgb = self._render()
        self._renderer.enable_depth_rendering()
        depth = self._render()
        focal = 0.5 * self._size / np.tan(np.deg2rad(self._model.cam_fovy[self._camera]) / 2)
        rows, columns = np.mgrid[0 : self._size, 0 : self._size] + 0.5 - self._size / 2
        rays = np.stack([columns / focal, -rows / focal, -np.ones_like(rows)], axis=-1)
        points = (rays * depth[..., None]).reshape(-1, 3)
        rotation = self._data.cam_xmat[self._camera].reshape(3, 3)
        xyz = (points @ rotation.T + self._data.cam_xpos[self._camera]).astype(np.float32)
        return Cloud(stamp_ns, frame, xyz, rgb.reshape(-1, 3))

    def _render(self) -> Any:
        self._renderer.update_scene(self._data, self._camera, self._shown)
        return self._renderer.render()

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()
