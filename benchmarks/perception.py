# SPDX-License-Identifier: MIT
"""Time from a camera's message to the array that the policy takes, against plain copies.

    python benchmarks/perception.py --json out/perception.json

Each row is a message and the codec that reads it; beside it stand a plain copy of the message's
bytes into fresh memory, which is what its memory bandwidth allows, what a user writes in numpy,
and `sensor_msgs_py` where that is installed. All of a row take turns within one run, each on the
next of several equal messages, so that none finds its input in a cache that only it has warmed.
The last rows are the whole way: decoded, transformed, cropped and sampled. One thread. Beside the
time that passed stands the processor's own time, which other programs' share of a busy machine
does not lengthen. JSON keys: `machine`, `load`, `sensor_msgs_py`, `rows`: each `what`, `bytes`,
`expected`, and `p50_ms`, `p99_ms`, `cpu_p50_ms` and `times_copy` (of the latter) of every way.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image as Pillow
from rich.console import Console
from sensor_msgs.msg import CompressedImage, Image, PointCloud2, PointField
from tqdm import tqdm

from difftori_models.contract.specs import PointSpec
from difftori_ros.codecs.compressed_image import decode_compressed_image
from difftori_ros.codecs.image import decode_image, encode_image
from difftori_ros.codecs.point_cloud import decode_cloud, encode_cloud
from difftori_ros.observation.point_cloud import process_cloud
from difftori_ros.types import Cloud

mpl.use("agg")
import matplotlib.pyplot as plt

MESSAGES = 8
"""Equal messages in turn: of the smallest, more than fits a second-level cache."""
CAMERA = np.array([[0, -1, 0, 0.6], [-1, 0, 0, 0], [0, 0, -1, 0.8], [0, 0, 0, 1.0]])
"""Base frame from optical frame [m]: 0.8 m above the table, looking straight down."""
Way = Callable[[Any], object]


def picture(height: int, width: int) -> np.ndarray:
    """A smooth scene with a camera's noise, (H, W, 3) uint8."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width] / 100.0
    scene = np.stack([np.sin(x + y), np.cos(x * y / 9), np.sin(3 * x)], axis=-1)
    return (128 + 80 * scene + rng.normal(0, 4, scene.shape)).clip(0, 255).astype(np.uint8)


def rgb_message(_: int) -> Image:
    """640x480 rgb8."""
    message = Image()
    encode_image(picture(480, 640), message, 1, "camera")
    return message


def bgr_message(_: int) -> Image:
    """640x480 bgr8."""
    message = rgb_message(0)
    message.encoding = "bgr8"
    return message


def jpeg_message(_: int) -> CompressedImage:
    """1280x720 JPEG of quality 90."""
    stream = io.BytesIO()
    Pillow.fromarray(picture(720, 1280)).save(stream, "JPEG", quality=90)
    return CompressedImage(format="bgr8; jpeg compressed bgr8", data=stream.getvalue())


def cloud_message(count: int) -> PointCloud2:
    """A table with boxes as a camera above it sees them, some pixels without a measurement."""
    rng = np.random.default_rng(count)
    xy = rng.uniform(-0.5, 0.5, (count, 2))
    depth = 0.8 - 0.1 * (np.abs(xy % 0.25 - 0.12) < 0.05).all(axis=1) + rng.normal(0, 1e-3, count)
    xyz = np.column_stack([xy, depth]).astype(np.float32)
    message = PointCloud2()
    colors = rng.integers(0, 256, (count, 3)).astype(np.uint8)
    encode_cloud(Cloud(1, "camera", xyz, colors), message, PointField)
    return message


def holey_message(count: int) -> PointCloud2:
    """The same, with one point in ten NaN."""
    message = cloud_message(count)
    np.frombuffer(message.data, np.float32).reshape(-1, 4)[::10, :3] = np.nan
    return message


def copied(message: Any) -> np.ndarray:
    """The message's bytes in fresh memory."""
    return np.frombuffer(message.data, np.uint8).copy()


def naive_image(message: Image) -> np.ndarray:
    """What one writes."""
    pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
    return pixels[:, :, ::-1].copy() if message.encoding == "bgr8" else pixels.copy()


def naive_cloud(message: PointCloud2) -> tuple[np.ndarray, np.ndarray]:
    """What one writes: a structured array, stacked, finite points kept, colours taken apart."""
    kind = np.dtype(
        {
            "names": [field.name for field in message.fields],
            "formats": ["<f4"] * len(message.fields),
            "offsets": [field.offset for field in message.fields],
            "itemsize": message.point_step,
        }
    )
    points = np.frombuffer(message.data, kind)
    xyz = np.stack([points[name] for name in "xyz"], axis=-1)
    finite = np.isfinite(xyz).all(axis=1)
    bits = points["rgb"][finite].view(np.uint32)
    rgb = np.stack([bits >> 16 & 255, bits >> 8 & 255, bits & 255], axis=-1)
    return xyz[finite], rgb.astype(np.uint8)


def upstream_cloud() -> Way | None:
    """`sensor_msgs_py`, where it is installed."""
    if find_spec("sensor_msgs_py") is None:
        return None
    from sensor_msgs_py.point_cloud2 import read_points

    return lambda message: read_points(message, ("x", "y", "z", "rgb"), skip_nans=True)


def sampled(count: int) -> Way:
    """Message to the policy's points: decoded, transformed, cropped, sampled."""
    spec = PointSpec("base", count, True, (0.2, -0.4, -0.1), (1.0, 0.4, 0.5))
    return lambda message: process_cloud(decode_cloud(message), CAMERA, spec)


def rows() -> list[tuple[str, Callable[[int], Any], int, dict[str, Way | None], str]]:
    """Name, message, its size, ways to read it, and what is expected of ours."""
    image: dict[str, Way | None] = {"ours": decode_image, "numpy": naive_image}
    cloud: dict[str, Way | None] = {
        "ours": decode_cloud,
        "numpy": naive_cloud,
        "sensor_msgs_py": upstream_cloud(),
    }
    return [
        ("640x480 rgb8", rgb_message, 0, image, "3 copies"),
        ("640x480 bgr8", bgr_message, 0, image, ""),
        ("1280x720 JPEG", jpeg_message, 0, {"ours": decode_compressed_image}, ""),
        ("16k points", cloud_message, 16384, cloud, "3 copies"),
        ("16k points, 10 % NaN", holey_message, 16384, cloud, ""),
        ("300k points", cloud_message, 300_000, cloud, ""),
        ("300k points, 10 % NaN", holey_message, 300_000, cloud, ""),
        ("16k points to 512", cloud_message, 16384, {"ours": sampled(512)}, ""),
        ("300k points to 1,024", cloud_message, 300_000, {"ours": sampled(1024)}, "30 ms"),
    ]


def measure(
    make: Callable[[int], Any], count: int, ways: dict[str, Way | None], runs: int
) -> dict[str, Any]:
    """Bytes of the message, and the times of a copy and of every way."""
    first = make(count)
    number = max(2, min(64, MESSAGES * 1_000_000 // len(first.data)))
    turn = cycle([first, *(make(count) for _ in range(number - 1))])
    all_ways = {"copy": copied, **{name: way for name, way in ways.items() if way is not None}}
    passed: dict[str, list[float]] = {name: [] for name in all_ways}
    worked: dict[str, list[float]] = {name: [] for name in all_ways}
    for run in range(runs + 3):
        for name, way in all_ways.items():
            message = next(turn)
            begin, cpu = time.perf_counter_ns(), time.thread_time_ns()
            kept = way(message)
            cpu, spent = time.thread_time_ns() - cpu, time.perf_counter_ns() - begin
            del kept
            if run >= 3:
                passed[name].append(spent * 1e-6)
                worked[name].append(cpu * 1e-6)

    def at(times: dict[str, list[float]], percent: float) -> dict[str, float]:
        return {name: round(float(np.percentile(t, percent)), 4) for name, t in times.items()}

    cpu_ms = at(worked, 50)
    return {
        "bytes": len(first.data),
        "p50_ms": at(passed, 50),
        "p99_ms": at(passed, 99),
        "cpu_p50_ms": cpu_ms,
        "times_copy": {name: round(ms / cpu_ms["copy"], 2) for name, ms in cpu_ms.items()},
    }


def table(found: list[dict[str, Any]]) -> str:
    """Markdown."""
    ways = ("copy", "ours", "numpy", "sensor_msgs_py")
    lines = [
        f"| message | MB | {' | '.join(f'{way}: p50 / p99 (cpu) [ms]' for way in ways)} "
        "| ours, copies | expected |",
        "|" + "---|" * (len(ways) + 4),
    ]
    for row in found:
        cells = [
            f"{row['p50_ms'][way]:.3f} / {row['p99_ms'][way]:.3f} ({row['cpu_p50_ms'][way]:.3f})"
            if way in row["p50_ms"]
            else "-"
            for way in ways
        ]
        lines.append(
            f"| {row['what']} | {row['bytes'] / 1e6:.2f} | {' | '.join(cells)} | "
            f"{row['times_copy']['ours']:.1f} | {row['expected']} |"
        )
    return "\n".join(lines)


def plot(found: list[dict[str, Any]], path: Path) -> None:
    """Medians of every way, processor's time, side by side."""
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    ways = [way for way in ("copy", "ours", "numpy", "sensor_msgs_py") if has(found, way)]
    for place, way in enumerate(ways):
        at = [k + 0.8 * place / len(ways) for k, row in enumerate(found) if way in row["p50_ms"]]
        values = [row["cpu_p50_ms"][way] for row in found if way in row["cpu_p50_ms"]]
        axes.barh(at, values, height=0.8 / len(ways), label=way)
    axes.set_yticks([k + 0.3 for k in range(len(found))], [row["what"] for row in found])
    axes.set(xscale="log", xlabel="processor's time, median [ms]")
    axes.invert_yaxis()
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def has(found: list[dict[str, Any]], way: str) -> bool:
    """Whether any row was read that way."""
    return any(way in row["p50_ms"] for row in found)


def main() -> None:
    """Measure, print a table, write JSON and a picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=300, help="of every row")
    parser.add_argument("--quick", action="store_true", help="10 runs of every row")
    parser.add_argument("--json", type=Path, default=Path("out/perception.json"))
    arguments = parser.parse_args()
    runs = 10 if arguments.quick else arguments.runs
    found = [
        {"what": what, "expected": expected, **measure(make, count, ways, runs)}
        for what, make, count, ways, expected in tqdm(rows(), desc="perception", unit="row")
    ]
    installed = find_spec("sensor_msgs_py") is not None
    console = Console(soft_wrap=True)
    console.print(table(found), markup=False, highlight=False)
    if not installed:
        console.print("`sensor_msgs_py` is not installed here: no times of it.", markup=False)
    result = {
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "load": round(os.getloadavg()[0], 1),
        "sensor_msgs_py": installed,
        "rows": found,
    }
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    plot(found, arguments.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
