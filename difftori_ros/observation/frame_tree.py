# SPDX-License-Identifier: MIT
"""Where one frame is in another at a given time, from parameters and TF messages."""

from __future__ import annotations

import threading
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from difftori_ros.codecs.transforms import decode_transforms
from difftori_ros.errors import DifftoriError
from difftori_ros.rigid import pose_to_matrix
from difftori_ros.types import FloatArray


class FrameError(DifftoriError, LookupError):
    """A transform cannot be had or cannot be used; names the frames and the times in question."""


@dataclass
class _Edge:
    """How a child hangs on its parent: one matrix for all times, or matrices by stamp."""

    parent: str
    static: FloatArray | None = None
    stamps: list[int] = field(default_factory=list)
    matrices: list[FloatArray] = field(default_factory=list)


class FrameTree:
    """Named frames and the rigid transforms between them. Any thread may write or read.

    Every frame hangs on one parent. A static transform is valid at all times; timed ones are
    interpolated and never extrapolated, since a guess about where the camera was is a guess about
    where everything is.
    """

    def __init__(self, depth: int = 1000, max_gap_s: float = 0.5):
        """Make an empty tree.

        Args:
            depth: Timed transforms kept per frame; the oldest go first.
            max_gap_s: Two transforms further apart than this are not interpolated between [s].
        """
        self._depth = depth
        self._max_gap_ns = round(max_gap_s * 1e9)
        self._edges: dict[str, _Edge] = {}
        self._lock = threading.Lock()

    @property
    def frames(self) -> tuple[str, ...]:
        """Every frame known, sorted."""
        with self._lock:
            return self._names()

    def set_static(self, parent: str, child: str, matrix: FloatArray) -> None:
        """From now on `child` is fixed to `parent`; what was known about it before is forgotten.

        Args:
            parent: Frame that the matrix maps to.
            child: Frame that it maps from.
            matrix: Rigid transform (4, 4).

        Raises:
            FrameError: The matrix is not rigid, or `parent` hangs on `child`.
        """
        rigid = _checked(parent, child, matrix)
        with self._lock:
            self._refuse_loop(parent, child)
            self._edges[child] = _Edge(parent, static=rigid)

    def set_static_pose(self, parent: str, child: str, pose: FloatArray) -> None:
        """As `set_static`, from the pose (7,) of `child`, as parameters give it.

        Raises:
            FrameError: The pose is not one; or as `set_static`.
        """
        try:
            matrix = pose_to_matrix(pose)
        except ValueError as error:
            raise FrameError(f"pose of '{child}' in '{parent}': {error}") from error
        self.set_static(parent, child, matrix)

    def push(self, parent: str, child: str, stamp_ns: int, matrix: FloatArray) -> None:
        """The transform is known at `stamp_ns`; one with the same stamp is replaced.

        A frame that comes with another parent than before starts anew.

        Raises:
            FrameError: The matrix is not rigid, `parent` hangs on `child`, the stamp is not
                positive, or `child` is static: what the operator set by parameter does not yield
                to a message.
        """
        rigid = _checked(parent, child, matrix)
        if stamp_ns <= 0:
            raise FrameError(
                f"transform from '{child}' to '{parent}': wanted a stamp above 0, "
                f"got {stamp_ns} ns"
            )
        with self._lock:
            edge = self._edges.get(child)
            if edge is not None and edge.static is not None:
                raise FrameError(
                    f"wanted a frame that moves, got '{child}', which is fixed to '{edge.parent}'"
                )
            if edge is None or edge.parent != parent:
                self._refuse_loop(parent, child)
                edge = self._edges[child] = _Edge(parent)
            place = bisect_left(edge.stamps, stamp_ns)
            if place < len(edge.stamps) and edge.stamps[place] == stamp_ns:
                edge.matrices[place] = rigid
                return
            edge.stamps.insert(place, stamp_ns)
            edge.matrices.insert(place, rigid)
            if len(edge.stamps) > self._depth:
                del edge.stamps[0], edge.matrices[0]

    def lookup(self, target: str, source: str, stamp_ns: int) -> FloatArray:
        """Matrix (4, 4) that maps points in `source` to `target` at `stamp_ns`.

        Between two stamped transforms the translation is linear and the rotation turns at constant
        rate about one axis (Shoemake 1985, "Animating rotation with quaternion curves").

        Raises:
            FrameError: A frame is unknown, the two are not connected, or the transform is not
                known at that time: too old, in the future, or in a gap.
        """
        with self._lock:
            names = self._names()
            for frame in (source, target):
                if frame not in names and target != source:
                    raise FrameError(
                        f"wanted the transform from '{source}' to '{target}', got no frame "
                        f"'{frame}'; frames that exist: {', '.join(names) or 'none'}"
                    )
            up_source, up_target = self._ancestors(source), self._ancestors(target)
            meeting = next((frame for frame in up_source if frame in up_target), None)
            if meeting is None:
                raise FrameError(
                    f"wanted the transform from '{source}' to '{target}', got two trees: "
                    f"{' -> '.join(up_source)} and {' -> '.join(up_target)}"
                )
            meeting_from_source = self._climb(up_source, meeting, stamp_ns)
            meeting_from_target = self._climb(up_target, meeting, stamp_ns)
        return _inverse(meeting_from_target) @ meeting_from_source

    def clear(self) -> None:
        """Forget the timed transforms, for the clock jumped back; static ones stay."""
        with self._lock:
            self._edges = {k: edge for k, edge in self._edges.items() if edge.static is not None}

    def _names(self) -> tuple[str, ...]:
        return tuple(sorted({*self._edges, *(edge.parent for edge in self._edges.values())}))

    def _ancestors(self, frame: str) -> list[str]:
        """The frame, its parent, and so on up to the root."""
        path = [frame]
        while path[-1] in self._edges:
            path.append(self._edges[path[-1]].parent)
        return path

    def _refuse_loop(self, parent: str, child: str) -> None:
        if child in self._ancestors(parent):
            raise FrameError(
                f"wanted a tree, got '{child}' under '{parent}', which hangs on "
                f"{' -> '.join(self._ancestors(parent))}"
            )

    def _climb(self, path: list[str], top: str, stamp_ns: int) -> FloatArray:
        matrix = np.eye(4)
        for child in path[: path.index(top)]:
            matrix = self._at(child, stamp_ns) @ matrix
        return matrix

    def _at(self, child: str, stamp_ns: int) -> FloatArray:
        """Matrix (4, 4) from `child` to its parent at a time."""
        edge = self._edges[child]
        if edge.static is not None:
            return edge.static
        after = bisect_left(edge.stamps, stamp_ns)
        if after < len(edge.stamps) and edge.stamps[after] == stamp_ns:
            return edge.matrices[after]
        what = f"wanted the transform from '{child}' to '{edge.parent}' at {stamp_ns} ns"
        if after == 0:
            late = (edge.stamps[0] - stamp_ns) * 1e-9
            raise FrameError(f"{what}: that is too old by {late:.3f} s, the oldest known is newer")
        if after == len(edge.stamps):
            early = (stamp_ns - edge.stamps[-1]) * 1e-9
            raise FrameError(
                f"{what}: that is in the future by {early:.3f} s, the newest known is older"
            )
        begin, end = edge.stamps[after - 1], edge.stamps[after]
        if end - begin > self._max_gap_ns:
            raise FrameError(
                f"{what}: the two known around it are {(end - begin) * 1e-9:.3f} s apart, "
                f"and at most {self._max_gap_ns * 1e-9:g} s can be bridged"
            )
        fraction = (stamp_ns - begin) / (end - begin)
        return _interpolated(edge.matrices[after - 1], edge.matrices[after], fraction)


def _checked(parent: str, child: str, matrix: FloatArray) -> FloatArray:
    what = f"transform from '{child}' to '{parent}'"
    if not parent or not child or parent == child:
        raise FrameError(f"{what}: wanted two frame names that differ")
    rigid = np.array(matrix, dtype=np.float64)
    fits = rigid.shape == (4, 4) and bool(np.isfinite(rigid).all())
    if fits:
        rotation = rigid[:3, :3]
        fits = (
            bool((rigid[3] == (0.0, 0.0, 0.0, 1.0)).all())
            and bool((np.abs(rotation) < 1.01).all())
            and bool(np.allclose(rotation @ rotation.T, np.eye(3), rtol=0.0, atol=1e-3))
            and float(np.linalg.det(rotation)) > 0
        )
    if not fits:
        raise FrameError(f"{what}: wanted a rigid transform (4, 4), got {rigid.tolist()}")
    rigid.setflags(write=False)
    return rigid


def _inverse(matrix: FloatArray) -> FloatArray:
    inverse = np.eye(4)
    inverse[:3, :3] = matrix[:3, :3].T
    inverse[:3, 3] = -matrix[:3, :3].T @ matrix[:3, 3]
    return inverse


def _interpolated(begin: FloatArray, end: FloatArray, fraction: float) -> FloatArray:
    first = Rotation.from_matrix(begin[:3, :3])
    turn = (first.inv() * Rotation.from_matrix(end[:3, :3])).as_rotvec()
    matrix = np.eye(4)
    matrix[:3, :3] = (first * Rotation.from_rotvec(fraction * turn)).as_matrix()
    matrix[:3, 3] = (1.0 - fraction) * begin[:3, 3] + fraction * end[:3, 3]
    return matrix


def take_transforms(tree: FrameTree, msg: Any, static: bool) -> None:
    """The tree knows the transforms of a TFMessage, of `/tf_static` or of `/tf`.

    Raises:
        CodecError: As `decode_transforms`.
        FrameError: The tree cannot take one of them.
    """
    for parent, child, stamp_ns, matrix in decode_transforms(msg):
        if static:
            tree.set_static(parent, child, matrix)
        else:
            tree.push(parent, child, stamp_ns, matrix)
