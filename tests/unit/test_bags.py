# SPDX-License-Identifier: MIT
"""Bags are read without ROS, whoever wrote them; what cannot be read or found is named."""

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin

from difftori_models.checkpoint import load_card
from difftori_ros.config.parameter_files import values_of
from difftori_ros.config.parameters import POLICY
from difftori_ros.config.paths import find_checkpoint
from difftori_ros.recording.bag_reader import Bag, BagError
from difftori_ros.recording.bag_replay import BagReplay, replay
from difftori_ros.recording.bag_writer import BagWriter
from difftori_ros.recording.mcap_file import Channel
from difftori_sim.cli.main import main
from tests.support.bag_files import (
    FIRST_NS,
    JOINTS,
    PANDA,
    PERIOD_NS,
    POSE,
    TYPES,
    joints,
    written,
)

CARD = load_card(find_checkpoint("pick_cube_state"))
VALUES = values_of("policy_node", POLICY)


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_folder_of_ros2_bag_is_replayed_at_the_rate_of_the_policy(tmp_path, plugin):
    path = written(tmp_path / "bag", plugin)
    with Bag(path) as bag:
        seen = list(replay(bag, CARD, PANDA, VALUES))
    stamps = np.array([o.stamp_ns for o in seen])
    # the first plan after the first comes as early as one may
    assert np.diff(stamps).tolist() == [90_000_000] + [100_000_000] * (len(stamps) - 2)
    turned = np.array([o.position[0] for o in seen]) - PANDA.home[0]
    np.testing.assert_allclose(turned, (stamps - FIRST_NS) / PERIOD_NS * 1e-3, atol=1e-12)
    assert all(o.stamps_ns["goal"] <= o.stamp_ns for o in seen)


def test_two_replays_of_a_bag_are_the_same_bits(tmp_path):
    path = written(tmp_path / "bag")
    runs = []
    for _ in range(2):
        with Bag(path) as bag:
            runs.append([(o.stamp_ns, o.position.tobytes()) for o in replay(bag, CARD, PANDA)])
    assert runs[0] == runs[1]


def test_streams_under_other_names_are_found_by_remaps(tmp_path):
    path = written(tmp_path / "bag", prefix="/left")
    remaps = {name: f"/left/{name}" for name in CARD.observation.streams}
    with Bag(path) as bag:
        assert list(BagReplay(bag, CARD, PANDA, remaps=remaps).observations())
        with pytest.raises(BagError, match=r"'joint_states' .* /left/joint_states"):
            list(replay(bag, CARD, PANDA))


def test_stream_that_was_not_recorded_is_named_with_what_there_is(tmp_path):
    path = written(tmp_path / "bag", without=("/object",))
    with Bag(path) as bag, pytest.raises(BagError) as caught:
        list(replay(bag, CARD, PANDA))
    for part in ("'object'", POSE, "holds nothing", "of that type: /goal", "/joint_states"):
        assert part in str(caught.value)


def test_observations_that_cannot_be_made_are_counted_with_their_reason(tmp_path):
    path = written(tmp_path / "bag")
    with Bag(path) as bag:
        player = BagReplay(bag, CARD, PANDA, VALUES | {"pose_max_age_s": 0.001})
        seen = list(player.observations())
    assert {o.stamps_ns["goal"] - o.stamp_ns for o in seen} == {0}  # where both came at once
    assert player.refusals["STALE"] > 0
    assert player.last_refusal.startswith("STALE: ")


def test_nothing_to_observe_is_an_error_with_the_reason(tmp_path):
    path = written(tmp_path / "bag")
    strict = VALUES | {"joint_states_max_age_s": 0.0001}
    with Bag(path) as bag, pytest.raises(BagError, match="nothing can be observed: STALE"):
        list(replay(bag, CARD, PANDA, strict))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 0.99])
def test_truncated_bag_is_refused_and_never_half_believed_in_silence(tmp_path, share):
    [whole] = written(tmp_path / "bag").glob("*.mcap")
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    with pytest.raises(BagError, match=r"cut\.mcap"), Bag(cut) as bag:
        list(replay(bag, CARD, PANDA))


def test_what_is_no_bag_is_refused(tmp_path):
    with pytest.raises(BagError, match="no such file or folder"):
        Bag(tmp_path / "none")
    with pytest.raises(BagError, match="cannot be read as a bag"):
        Bag(tmp_path)
    text = tmp_path / "notes.txt"
    text.write_text("no bag")
    with pytest.raises(BagError, match="cannot be read as a bag"):
        Bag(text)


def test_written_file_is_there_when_it_is_complete_and_overwrites_nothing(tmp_path):
    path = tmp_path / "made" / "bag.mcap"
    channel = Channel("joint_states", "/joint_states", JOINTS, "string none\n")
    writer = BagWriter(path, [channel])
    data = bytes(TYPES.serialize_cdr(joints(FIRST_NS, np.append(PANDA.home, 0.04)), JOINTS))
    writer.write("joint_states", data, FIRST_NS)
    assert not path.exists()
    writer.close()
    with Bag(path) as bag:
        [recorded] = bag.messages(["/joint_states"])
    assert (recorded.time_ns, recorded.message.name) == (FIRST_NS, list(PANDA.joint_names))
    with pytest.raises(FileExistsError, match="is not overwritten"):
        BagWriter(path, [channel])
    with pytest.raises(OSError, match=r"ends in \.mcap"):
        BagWriter(tmp_path / "bag.db3", [channel])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--checkpoint", "pick_cube_state"), "no such file or folder"),
        (("--checkpoint", "nope"), "no checkpoint 'nope'"),
        (("--task", "push_cube", "--obs", "points"), "has no variant 'points'"),
        (("--checkpoint", "pick_cube_state", "--remap", "a=b"), "wanted --remap NAME:=TOPIC"),
    ],
)
def test_collecting_what_is_not_there_is_refused_in_one_sentence(
    tmp_path, capsys, words, complaint
):
    out = tmp_path / "none.npz"
    status = main(["demos", "import", "bag", str(tmp_path / "none"), "--out", str(out), *words])
    assert status == (2 if "--remap" in words else 1)
    [sentence] = [line for line in capsys.readouterr().err.splitlines() if "difftori:" in line]
    assert complaint in sentence
    assert not out.exists()


def test_bag_without_gripper_commands_is_refused_by_the_name_of_their_topic(tmp_path, capsys):
    path, out = written(tmp_path / "bag"), tmp_path / "none.npz"
    words = [str(path), "--checkpoint", "pick_cube_state", "--out", str(out)]
    assert main(["demos", "import", "bag", *words]) == 1
    assert PANDA.gripper.topic in capsys.readouterr().err


def test_a_bag_is_shown_by_its_topics_types_and_counts(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    path = written(tmp_path / "bag")
    assert main(["bag", "show", str(path)]) == 0
    text = capsys.readouterr().out
    with Bag(path) as bag:
        assert bag.duration_s > 0.0
        for topic, kind in bag.topics.items():
            [line] = [line for line in text.splitlines() if f" {topic} " in line]
            assert kind in line
            assert f" {sum(1 for _ in bag.messages([topic]))} " in line


def test_showing_a_bag_that_is_not_there_is_refused(tmp_path, capsys):
    assert main(["bag", "show", str(tmp_path / "none")]) == 1
    assert "no such file or folder" in capsys.readouterr().err
