# SPDX-License-Identifier: MIT
from glob import glob
from os.path import dirname, isfile

from setuptools import find_packages, setup

# Folder in the checkout -> import name. `difftori_ros` keeps its name and must not be listed:
# colcon refuses an identity entry.
RENAMED = {"difftori_models": "models", "difftori_sim": "sim"}


def packages():
    names = ["difftori_ros"] + [f"difftori_ros.{sub}" for sub in find_packages("difftori_ros")]
    for name, folder in RENAMED.items():
        names += [name] + [f"{name}.{sub}" for sub in find_packages(folder)]
    return names


def shared(pattern):
    """Every file that matches, as data_files entries below share/difftori_ros."""
    folders = {}
    for path in sorted(glob(pattern, recursive=True)):
        if isfile(path) and "__pycache__" not in path:
            folders.setdefault(f"share/difftori_ros/{dirname(path)}", []).append(path)
    return list(folders.items())


ON_LINUX_X86 = "sys_platform == 'linux' and platform_machine == 'x86_64'"

setup(
    name="difftori_ros",
    version="0.3.0",
    description="Policies that optimise their actions at test time (DiffTORI) on ROS 2 arms",
    license="MIT",
    author="the difftori_ros authors",
    packages=packages(),
    package_dir=RENAMED,
    # Here and nowhere else: colcon cannot read it from setup.cfg or pyproject.toml.
    python_requires=">=3.10",
    zip_safe=False,
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/difftori_ros"]),
        ("share/difftori_ros", ["package.xml"]),
        # pip puts console scripts into bin/, but launch looks for a node's executable here.
        ("lib/difftori_ros", sorted(glob("scripts/ros/*"))),
        *shared("launch/*.launch.py"),
        *shared("config/**"),
        *shared("checkpoints/**"),
    ],
    # What every process needs; rclpy comes from ROS 2, or from the extra `ros-wheels`.
    install_requires=[
        "numpy",
        "scipy",
        "pyyaml",
        "safetensors",
        "ruckig",
        "rich",
        "tyro",
        "mcap",
        "pillow",
    ],
    extras_require={
        "policy": ["torch", "pin"],
        "clouds": ["open3d"],
        "train": ["torch", "tqdm", "matplotlib"],
        # Learning by reward, and the suite of DeepMind Control; newer pairs of the two do not fit.
        "rl": ["torch", "tqdm", "tensorboard"],
        "dmc": ["dm_control==1.0.28", "mujoco==3.3.0", "gymnasium"],
        # Runs an exported policy, without torch. On an NVIDIA GPU install onnxruntime-gpu in its
        # place: both bring the same module, so they must not be there together.
        "onnx": ["onnxruntime"],
        "export": ["onnx", "onnxscript", "onnxruntime"],
        # What Theseus, the oracle of the solver's tests, imports. It cannot itself be declared:
        # its setup wants torch in the environment, and it asks for packages that need a compiler
        # and that nothing here uses, so it takes --no-deps. The recipe stands in scripts/setup.
        "theseus": ["torch", "scipy", "urdf-parser-py"],
        # Reads bags, without ROS.
        "bags": ["rosbags"],
        "sim": ["mani_skill", "sapien", "imageio", "imageio-ffmpeg", "packaging", "tqdm"],
        # Suites that share ManiSkill's environment: MetaWorld, DeepMind Control, Gymnasium.
        "suites": [
            "metaworld==3.1.1",
            "dm_control==1.0.28",
            "mujoco==3.3.0",
            "gymnasium",
            "h5py",
            "packaging",
        ],
        # robosuite, for the tasks of Robomimic. Half a gigabyte, and its keyboard reader evdev
        # has no wheel: it takes a C compiler and the kernel's headers.
        "robomimic": ["robosuite==1.5.2", "mujoco==3.3.0", "h5py"],
        "ros-wheels": [
            f"ros-jazzy-rclpy[fastrtps]==7.1.6; {ON_LINUX_X86}",
            f"ros-jazzy-common-interfaces==5.3.6; {ON_LINUX_X86}",
        ],
        # `colcon test` runs pytest only when it finds it under this name.
        # diffusers is an oracle: its schedulers say what denoising should give.
        "test": [
            "pytest",
            "pytest-rerunfailures",
            "pytest-timeout",
            "pytest-xdist",
            "hypothesis",
            "coverage",
            "diffusers",
            "greenlet",
        ],
        "dev": ["ruff", "pyright", "pre-commit"],
    },
    entry_points={
        "console_scripts": [
            "difftori = difftori_sim.cli.main:main",
            "difftori-ros-bringup = difftori_ros.bringup.main:main",
            "policy_node = difftori_ros.nodes.policy_node:main",
            "guard_node = difftori_ros.nodes.guard_node:main",
            "blackbox_node = difftori_ros.nodes.blackbox_node:main",
            "sim_bridge = difftori_sim.ros.bridge_node:main",
        ],
    },
)
