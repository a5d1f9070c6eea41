# SPDX-License-Identifier: MIT
"""Cameras are seen by their names, as the card wants them, or are named when they are not seen."""

import numpy as np
import pytest

from difftori_models.contract.specs import ImageSpec, Observation, ObservationSpec
from difftori_ros.observation import Observer
from difftori_ros.observation.image import process_image
from difftori_ros.observation.image_cache import ImageCache
from difftori_ros.observation.rectify import Lens
from difftori_ros.types import Image, Reason
from tests.support.observers import BASE, CAMERA, MS, NAMES, NOW, fill, observer, refused

EYES = {"camera": ImageSpec(16, 16, (0.0, 0.0, 0.5, 1.0)), "wrist": ImageSpec(8, 12)}


def eyes(images=EYES) -> ObservationSpec:
    return ObservationSpec(BASE, NAMES, ("goal",), ("position",), None, images)


def picture(stamp_ns=NOW, seed=0) -> Image:
    rgb = np.random.default_rng(seed).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    return Image(stamp_ns, CAMERA, rgb)


def looking(wanted=None, *, without=(), **options) -> Observer:
    seen = fill(observer(wanted or eyes(), **options), without=("camera", "wrist"))
    for seed, name in enumerate(seen.spec.images):
        if name not in without:
            seen.streams.push(name, picture(seed=seed), NOW)
    return seen


def image(seen: Observer, camera: str, now_ns=NOW) -> np.ndarray:
    observation = seen.observe(now_ns)
    assert isinstance(observation, Observation)
    return observation.images[camera]


def test_every_camera_is_seen_by_its_name_as_the_card_wants_it():
    observation = looking().observe(NOW)
    assert isinstance(observation, Observation)
    assert list(observation.images) == ["camera", "wrist"]
    for seed, (name, want) in enumerate(EYES.items()):
        wanted = process_image(picture(seed=seed).rgb, want)
        np.testing.assert_array_equal(observation.images[name], wanted)
        assert observation.stamps_ns[name] == NOW


def test_image_that_was_prepared_is_the_one_that_is_seen_until_a_newer_one_comes():
    seen, ahead = looking(), looking()
    ahead.prepare(NOW)
    for name in EYES:
        np.testing.assert_array_equal(image(seen, name), image(ahead, name))
    ahead.streams.push("wrist", picture(NOW + MS, seed=9), NOW + MS)
    newer = image(ahead, "wrist", NOW + MS)
    np.testing.assert_array_equal(newer, process_image(picture(seed=9).rgb, EYES["wrist"]))


@pytest.mark.parametrize("name", ["camera", "wrist"])
def test_camera_that_is_silent_or_late_is_named(name):
    refusal = refused(looking(without=(name,)))
    assert refusal.reason is Reason.MISSING
    assert refusal.detail == f"'{name}' has not delivered yet"
    seen = looking(without=(name,))
    seen.streams.push(name, picture(NOW - 207 * MS), NOW)
    refusal = refused(seen)
    assert refusal.reason is Reason.STALE
    assert refusal.detail == f"'{name}' is 0.207 s old, limit 0.200 s"


def test_camera_that_must_be_rectified_waits_for_its_calibration_by_name():
    seen = looking(eyes({"wrist": ImageSpec(8, 12, rectify=True)}))
    refusal = refused(seen)
    assert refusal.reason is Reason.MISSING
    assert refusal.detail.startswith("'wrist': ")
    assert "no camera_info has come" in refusal.detail
    lens = Lens(48, 32, (40.0, 0.0, 24.0, 0.0, 40.0, 16.0, 0.0, 0.0, 1.0))
    seen.set_lens("wrist", lens)
    seen.streams.clear()
    fill(seen, without=("wrist",)).streams.push("wrist", picture(), NOW)
    assert isinstance(seen.observe(NOW), Observation), "the calibration outlives a reset"


def test_camera_that_sends_the_same_picture_again_and_again_is_frozen():
    seen = looking(frozen_frames=2)
    assert seen.streams.frozen() is None
    seen.streams.push("wrist", picture(NOW + MS, seed=1), NOW + MS)
    frozen = seen.streams.frozen()
    assert frozen is not None
    assert frozen.detail == "'wrist' has sent 2 identical frames"
    seen.streams.push("wrist", picture(NOW + 2 * MS, seed=2), NOW + 2 * MS)
    assert seen.streams.frozen() is None


def test_only_the_image_that_will_be_planned_from_is_prepared(monkeypatch):
    seen, step_ms, made = looking(eyes({"wrist": EYES["wrist"]}), without=("wrist",)), 33, []
    process = ImageCache.image

    def prepared(self, name, picture):
        made.append(picture.stamp_ns)
        return process(self, name, picture)

    monkeypatch.setattr(ImageCache, "image", prepared)
    due_ns = NOW + 10 * step_ms * MS
    for k in range(11):
        stamp_ns = NOW + k * step_ms * MS
        seen.streams.push("wrist", picture(stamp_ns, seed=k), stamp_ns)
        if k >= 5:  # the rhythm is known
            seen.prepare(stamp_ns, due_ns)
    assert made == [NOW + k * step_ms * MS for k in (9, 10)]
