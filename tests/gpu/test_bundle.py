#!/usr/bin/env python3
"""The start script of a bundle, which looks for CUDA's libraries among Python packages."""
import os
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
import unittest

START = pathlib.Path(__file__).resolve().parents[2] / "cmake/run_bundle.sh"


class FindsLibraries(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        (self.root / "bin").mkdir()
        shutil.copy(START, self.root / "run.sh")
        self.packages = self.root / "site-packages"

    def add(self, *files):
        for file in files:
            path = self.packages / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def library_path(self, **variables):
        """LD_LIBRARY_PATH of what the bundle starts."""
        environment = {name: value for name, value in os.environ.items()
                       if name not in ("LD_LIBRARY_PATH", "ESPALIER_CUDA_LIBRARIES")}
        environment.update(PYTHONPATH=str(self.packages), **variables)
        out = subprocess.run(["sh", self.root / "run.sh", "printenv", "LD_LIBRARY_PATH"],
                             env=environment, check=True, capture_output=True, text=True)
        return out.stdout.strip().split(":")

    def test_every_folder_of_cuda_12_packages_is_found(self):
        # cuDNN finds NVRTC by its name alone when it first compiles a kernel.
        folders = ["nvidia/cublas/lib", "nvidia/cuda_nvrtc/lib", "nvidia/cudnn/lib",
                   "nvidia/nccl/lib"]
        self.add("nvidia/cublas/lib/libcublasLt.so.12", "nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
                 "nvidia/cudnn/lib/libcudnn.so.9", "nvidia/nccl/lib/libnccl.so.2",
                 "nvidia/cusparse/lib/libcusparse.so.12")
        found = self.library_path()
        for folder in folders:
            self.assertIn(str(self.packages / folder), found)
        self.assertNotIn(str(self.packages / "nvidia/cusparse/lib"), found)

    def test_the_one_folder_of_cuda_13_packages_is_found_once(self):
        self.add("nvidia/cu13/lib/libcublasLt.so.13", "nvidia/cu13/lib/libnvrtc.so.13")
        found = self.library_path()
        self.assertEqual(found.count(str(self.packages / "nvidia/cu13/lib")), 1)

    def test_what_the_user_names_goes_first_and_can_replace_the_search(self):
        self.add("nvidia/cu13/lib/libcublasLt.so.13")
        found = self.library_path(LD_LIBRARY_PATH="/own")
        self.assertLess(found.index("/own"), found.index(str(self.packages / "nvidia/cu13/lib")))
        found = self.library_path(ESPALIER_CUDA_LIBRARIES="/named")
        self.assertEqual(found[1:], ["/named"])

    def test_programs_are_unpacked_by_the_first_start(self):
        (self.root / "bin/hello").write_text("#!/bin/sh\necho hello from $0\n")
        (self.root / "bin/hello").chmod(0o755)
        with tarfile.open(self.root / "programs.tar.xz", "w:xz") as tar:
            tar.add(self.root / "bin", "bin")
        shutil.rmtree(self.root / "bin")
        for _ in range(2):
            out = subprocess.run(["sh", self.root / "run.sh", "hello"], check=True,
                                 capture_output=True, text=True)
            self.assertIn(f"hello from {self.root}/bin/hello", out.stdout)
            self.assertFalse((self.root / "programs.tar.xz").exists())

    def test_an_archive_that_cannot_be_unpacked_ends_the_start_and_stays(self):
        (self.root / "programs.tar.xz").write_bytes(b"cut off")
        out = subprocess.run(["sh", self.root / "run.sh", "echo", "hello"], capture_output=True,
                             text=True)
        self.assertEqual((out.returncode, out.stdout), (74, ""), out.stderr)
        self.assertTrue((self.root / "programs.tar.xz").exists())


if __name__ == "__main__":
    unittest.main()
