"""Builds `.arm64`: an ARM64 Python that has tflite-runtime, and the emulator to run it.

    python tests/arm/set_up_arm64.py

Needs Debian 12, but no root: apt works on a state of its own, so that nothing is installed on this
machine. The file `ready` is written last; without it, `make test-arm` builds the folder anew.
"""

import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / ".arm64"
EMULATOR = FOLDER / "qemu-aarch64-static"
ROOT = FOLDER / "root"  # Debian's files for ARM64
SITE = FOLDER / "site"  # what the wheels hold
PYTHON = ROOT / "usr/bin/python3.11"

# The ARM64 wheels of tflite-runtime 2.14 need Python 3.9 to 3.11 and glibc 2.34: Debian 12's.
RELEASE = "bookworm"
PACKAGES = ("python3.11", "libstdc++6")
WHEELS = ("tflite-runtime==2.14.0", "numpy<2")
WHEEL_TAGS = ("manylinux2014_aarch64", "manylinux_2_34_aarch64")


def host_release() -> str:
    """The name of this machine's release, or of its system where that has none."""
    try:
        return platform.freedesktop_os_release().get("VERSION_CODENAME", platform.system())
    except OSError:
        return platform.system()


def run(*command: object) -> str:
    """Stdout of a command; where that fails, one sentence ends the set-up."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or "without a message").splitlines()[-1]
        sys.exit(f"{command[0]} failed ({said}); check the network and run `make test-arm` again.")
    return done.stdout


def download_packages(folder: Path) -> list[Path]:
    """Python for ARM64 with all it depends on, and the emulator for this machine's processor."""
    host = run("dpkg", "--print-architecture").strip()
    (folder / "status").touch()  # nothing counts as installed: apt downloads every dependency
    options = {
        "Dir::State": folder,
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder,
        "APT::Architecture": "arm64",
        "APT::Architectures::": host,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",  # the user _apt may not write into the folder
        "Acquire::Languages": "none",
        "Acquire::Retries": 3,
    }
    apt = ["apt-get", *(f"-o{name}={value}" for name, value in options.items())]
    run(*apt, "update")
    run(*apt, "--yes", "--download-only", "install", *PACKAGES, f"qemu-user-static:{host}")
    return list((folder / "archives").glob("*.deb"))


def unpack_packages(packages: list[Path], unused: Path) -> None:
    """Fills `ROOT`; of some thirty emulators only that of ARM64 leaves the folder `unused`."""
    for package in packages:
        emulators = package.name.startswith("qemu-user-static")
        run("dpkg-deb", "--extract", package, unused if emulators else ROOT)
    shutil.move(unused / "usr/bin" / EMULATOR.name, EMULATOR)


def add_wheels(folder: Path) -> None:
    """Fills `SITE`."""
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    tags = [f"--platform={tag}" for tag in WHEEL_TAGS]
    run(*pip, *tags, "--python-version=3.11", f"--dest={folder}", *WHEELS)
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(SITE)


def set_up() -> None:
    """All stages, from nothing."""
    if (found := host_release()) != RELEASE:
        sys.exit(f"`make test-arm` cannot work on {found}; run it on Debian 12 ({RELEASE}).")
    (FOLDER / "ready").unlink(missing_ok=True)
    shutil.rmtree(FOLDER, ignore_errors=True)
    ROOT.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="sft_keras_arm64_") as temporary:
        downloads = Path(temporary)
        print("1/3 Downloading Debian's ARM64 Python and the emulator ...", flush=True)
        packages = download_packages(downloads)
        print(f"2/3 Unpacking {len(packages)} packages ...", flush=True)
        unpack_packages(packages, downloads / "unused")
        print(f"3/3 Adding {' and '.join(WHEELS)} for ARM64 ...", flush=True)
        add_wheels(downloads)
    (FOLDER / "ready").touch()
    print(f"{FOLDER} is ready.")


if __name__ == "__main__":
    set_up()
