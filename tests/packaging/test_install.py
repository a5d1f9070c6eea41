# SPDX-License-Identifier: MIT
"""The package installs by pip and by colcon, and finds its own files afterwards."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXECUTABLES = ("policy_node", "guard_node", "blackbox_node", "sim_bridge")

# What an installed package must be able to do, from a folder that knows nothing of the checkout.
USE_IT = """
import difftori_models.contract, difftori_ros.config.paths
import difftori_ros.robot, difftori_sim.arm.tasks
print(difftori_ros.config.paths.share_dir())
print(*difftori_ros.robot.profile.available_robots())
"""


@pytest.fixture(scope="module")
def arguments() -> dict:
    """What setup.py hands to setuptools, as colcon and pip see it."""
    code = (
        "import json, runpy, setuptools\n"
        "setuptools.setup = lambda **arguments: print(json.dumps(arguments))\n"
        "runpy.run_path('setup.py')"
    )
    return json.loads(run([sys.executable, "-c", code], ROOT))


def run(command: list, folder: Path, **environment: str) -> str:
    """Output of a command that succeeds; everything it said when it does not."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=neutral_environment() | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def neutral_environment() -> dict[str, str]:
    """Ours, without the marks that an environment's interpreter leaves for its children."""
    marks = ("PYTHONPATH", "VIRTUAL_ENV", "_ROS_WHEELS_BOOTSTRAP_COMPLETE")
    return {name: value for name, value in os.environ.items() if name not in marks}


# --- what the files say


def test_package_xml_is_format_3_and_builds_with_ament_python():
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    assert package.get("format") == "3"
    assert package.findtext("name") == "difftori_ros"
    assert package.findtext("export/build_type") == "ament_python"


def test_one_version_everywhere(arguments):
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    assert package.findtext("version") == arguments["version"]
    assert arguments["version"] in (ROOT / "CHANGELOG.rst").read_text()


def test_every_message_package_that_is_imported_is_declared():
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    declared = {tag.text for tag in package.findall("exec_depend")}
    imported = set()
    for folder in ("difftori_ros", "sim", "launch"):
        for path in (ROOT / folder).rglob("*.py"):
            imported |= set(
                re.findall(
                    r"^\s*(?:from|import) (\w+_msgs|\w+_srvs|rclpy)\b", path.read_text(), re.M
                )
            )
    assert imported
    assert imported <= declared


def test_no_python_bound_where_colcon_would_stumble_over_it(arguments):
    assert arguments["python_requires"] == ">=3.10"
    assert "python_requires" not in (ROOT / "setup.cfg").read_text()
    assert not re.search(r"^requires-python", (ROOT / "pyproject.toml").read_text(), re.M)


def test_everything_the_launch_files_need_is_installed(arguments):
    installed = {
        f"{folder}/{Path(file).name}"
        for folder, files in arguments["data_files"]
        for file in files
    }
    expected = {
        "share/ament_index/resource_index/packages/difftori_ros",
        "share/difftori_ros/package.xml",
        *(f"lib/difftori_ros/{name}" for name in EXECUTABLES),
        *(f"share/difftori_ros/launch/{path.name}" for path in (ROOT / "launch").glob("*.py")),
    }
    for folder in ("config", "checkpoints"):
        expected |= {
            f"share/difftori_ros/{path.relative_to(ROOT)}"
            for path in (ROOT / folder).rglob("*")
            if path.is_file()
        }
    assert installed == expected


def test_every_package_folder_is_installed_under_its_import_name(arguments):
    expected = set()
    for name, folder in {"difftori_ros": "difftori_ros", **arguments["package_dir"]}.items():
        for path in (ROOT / folder).rglob("__init__.py"):
            expected.add(".".join([name, *path.parent.relative_to(ROOT / folder).parts]))
    assert set(arguments["packages"]) == expected


def test_every_python_folder_is_a_package(arguments):
    for folder in ("difftori_ros", *arguments["package_dir"].values()):
        for path in (ROOT / folder).rglob("*.py"):
            assert (path.parent / "__init__.py").is_file(), path


def test_every_console_script_has_its_function(arguments):
    for script in arguments["entry_points"]["console_scripts"]:
        module, _, function = script.split(" = ")[1].partition(":")
        spec = importlib.util.find_spec(module)
        assert spec is not None, module
        assert spec.origin is not None, module
        source = Path(spec.origin).read_text()
        assert re.search(rf"^def {function}\(", source, re.M), script


@pytest.mark.parametrize("name", EXECUTABLES)
def test_a_nodes_executable_starts_the_module_of_its_console_script(arguments, name):
    wrapper = ROOT / "scripts" / "ros" / name
    assert os.access(wrapper, os.X_OK)
    module = re.search(r"-m (\S+)", wrapper.read_text())
    assert module is not None
    assert f"{name} = {module[1]}:main" in arguments["entry_points"]["console_scripts"]


# --- what installing does


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy to build from, so that nothing is left behind in this one."""
    copy = tmp_path / "checkout"
    unwanted = (".venv*", ".git", "build", "install", "log", "runs", "data", "out", ".*_cache")
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*unwanted, "__pycache__"))
    return copy


@pytest.fixture
def environment(tmp_path) -> Path:
    """A bare environment that borrows what this one has installed, but for the package itself."""
    venv = tmp_path / "venv"
    run([sys.executable, "-m", "venv", "--without-pip", venv], tmp_path)
    borrow(venv)
    return venv


def borrow(venv: Path) -> None:
    """Let `venv` see this interpreter's packages: plain folders only, no import hooks."""
    [packages] = venv.glob("lib/python3.*/site-packages")
    own = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (packages / "borrowed.pth").write_text("\n".join(own) + "\n")


def pip(venv: Path, *arguments) -> None:
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--ignore-installed")
    run([venv / "bin/python", "-m", "pip", "install", *options, *arguments], venv.parent)


@pytest.mark.slow
def test_pip_install_works_from_anywhere(checkout, environment):
    pip(environment, checkout)
    shutil.rmtree(checkout)
    share, robots = run([environment / "bin/python", "-c", USE_IT], environment).splitlines()
    assert share == str(environment / "share" / "difftori_ros")
    assert "panda" in robots.split()
    for name in EXECUTABLES:
        assert os.access(environment / "lib" / "difftori_ros" / name, os.X_OK), name
        assert (environment / "bin" / name).is_file()
    marker = environment / "share/ament_index/resource_index/packages/difftori_ros"
    assert marker.is_file()


@pytest.mark.slow
def test_pip_installed_executable_runs_in_its_own_environment(checkout, environment):
    pip(environment, checkout)
    shutil.rmtree(checkout)
    # It refuses, in one sentence, and says where it looked: in its own environment.
    done = subprocess.run(
        [environment / "lib/difftori_ros/guard_node", "--ros-args", "-p", "robot:=nobody"],
        cwd=environment,
        env=neutral_environment() | {"ROS_LOG_DIR": str(environment)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "no robot profile 'nobody'" in done.stderr
    assert str(environment / "share" / "difftori_ros") in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_editable_install_runs_what_is_edited_and_sees_new_files_at_once(checkout, environment):
    pip(environment, "-e", checkout)
    for folder in ("models", "sim", "difftori_ros"):
        (checkout / folder / "brand_new.py").write_text("answer = 42\n")
    code = (
        "from difftori_models.brand_new import answer as a\n"
        "from difftori_sim.brand_new import answer as b\n"
        "from difftori_ros.brand_new import answer as c\n"
        "print(a + b + c)"
    )
    python = environment / "bin/python"
    assert run([python, "-c", code], environment).strip() == "126"
    assert run([python, "-c", USE_IT], environment).splitlines()[0] == str(checkout)


@pytest.fixture(scope="module")
def colcon(tmp_path_factory) -> Path:
    """colcon in an environment of its own, from the package registry."""
    venv = tmp_path_factory.mktemp("colcon") / "venv"
    run([sys.executable, "-m", "venv", venv], venv.parent)
    packages = ("colcon-common-extensions", "setuptools<80", "wheel")
    run([venv / "bin/python", "-m", "pip", "install", "-q", *packages], venv.parent)
    borrow(venv)
    return venv / "bin/python"


@pytest.mark.slow
@pytest.mark.parametrize("mode", [(), ("--symlink-install",)], ids=["plain", "symlink"])
def test_colcon_builds_an_overlay_that_can_be_used_and_tested(colcon, checkout, tmp_path, mode):
    build = [colcon, "-m", "colcon", "build", *mode]
    run(build, checkout)
    overlay = checkout / "install"
    prefix = overlay / "difftori_ros"
    sourced = ". install/setup.sh && cd / && exec {} -c '{}'"
    if not mode:
        for folder in ("models", "sim", "difftori_ros"):  # the overlay stands on its own
            (checkout / folder).rename(checkout / f"{folder}.away")
    seen = run(["sh", "-c", sourced.format(colcon, USE_IT)], checkout).splitlines()
    if not mode:
        assert seen[0] == str(prefix / "share" / "difftori_ros")
        for folder in ("models", "sim", "difftori_ros"):
            (checkout / f"{folder}.away").rename(checkout / folder)
    assert "panda" in seen[1].split()
    for name in EXECUTABLES:
        assert os.access(prefix / "lib" / "difftori_ros" / name, os.X_OK), name
    assert (prefix / "share/difftori_ros/launch/policy.launch.py").exists()
    if mode:
        (checkout / "models" / "brand_new.py").write_text("answer = 42\n")
        code = "from difftori_models.brand_new import answer; print(answer)"
        assert run(["sh", "-c", sourced.format(colcon, code)], checkout).strip() == "42"

    select = ["--pytest-args", "-k", "import_rules and not load"]
    run([colcon, "-m", "colcon", "test", *select, "--return-code-on-test-failure"], checkout)
    run([colcon, "-m", "colcon", "test-result", "--verbose"], checkout)
    results = list((checkout / "build").rglob("pytest.xml"))
    assert len(results) == 1
    assert 'tests="0"' not in results[0].read_text()
