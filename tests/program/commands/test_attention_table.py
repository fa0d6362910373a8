#!/usr/bin/env python3
"""validation/gpu_speed/attention.py: what it makes of what `espalier bench attention` says.

test_attention_table.py <program> <root of the sources>
"""
import pathlib
import subprocess
import sys
import unittest

PROGRAM, ROOT = sys.argv[1], pathlib.Path(sys.argv[2])
SCRIPT = ROOT / "validation/gpu_speed/attention.py"
sys.path.insert(0, str(SCRIPT.parent))
import attention  # noqa: E402

# Invented figures, in the program's words.
HOPPER = """attention of rank 0: B 4, S 4096, A 16, K 8, D 128, bfloat16
  cudnn                              1.000    275.000
bench: attention cudnn: 1.00000 ms, 275.0000 TFLOP/s
bench: attention cudnn backward, any order: {cudnn:.5f} ms, 250.0000 TFLOP/s
bench: attention wgmma: 1.05000 ms, 261.9000 TFLOP/s
bench: attention wgmma backward: {wgmma:.5f} ms, 229.2000 TFLOP/s
bench: attention auto: wgmma, backward wgmma
"""
ALONE = """bench: attention mma: 2.00000 ms, 137.5000 TFLOP/s
bench: attention mma backward: 5.00000 ms, 137.5000 TFLOP/s
bench: attention auto: mma, backward mma
bench: attention cudnn needs libcudnn.so.9, which cannot be loaded
"""
SHAPE = (4, 4096, 16, 8, 128)


class Table(unittest.TestCase):
    def test_every_pass_is_a_ratio_of_medians(self):
        logs = [attention.Log(HOPPER.format(cudnn=c, wgmma=w))
                for c, w in ((2.0, 2.1), (9.0, 2.2), (1.9, 9.0))]  # each has one outlier
        rows, ratios = attention.rows_of("0.6B", SHAPE, logs)
        self.assertEqual(len(rows), 4)
        self.assertEqual({k: round(v, 6) for k, v in ratios.items()},
                         {"forward": 1.05, "backward": 1.1})
        self.assertIn("| backward | wgmma (auto) | 2.200 | 229.2 | 1.100 |", rows[3])
        self.assertIn("cudnn, any order of sums | 2.000", rows[2])
        self.assertTrue(all("B 4, S 4096, A 16, K 8, D 128" in row for row in rows))

    def test_the_bound(self):
        for wgmma, status in ((2.19, 0), (2.21, 1)):
            logs = [attention.Log(HOPPER.format(cudnn=2.0, wgmma=wgmma))]
            sentence, found = attention.verdict("0.6B", logs,
                                                attention.rows_of("0.6B", SHAPE, logs)[1])
            self.assertEqual(found, status, sentence)
            self.assertEqual("missed" in sentence, status == 1)

    def test_without_cudnn_nothing_is_claimed(self):
        logs = [attention.Log(ALONE)]
        rows, ratios = attention.rows_of("0.6B", SHAPE, logs)
        self.assertTrue(all(row.endswith("| - |") for row in rows))
        sentence, status = attention.verdict("0.6B", logs, ratios)
        self.assertEqual(status, 2)
        self.assertIn("libcudnn.so.9", sentence)

    def test_the_program_on_the_emulated_gpu(self):
        done = subprocess.run([sys.executable, "-B", str(SCRIPT), PROGRAM, str(ROOT / "inputs"),
                               "--backend", "emulated", "--shapes", "tiny", "--rounds", "1"],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        for provider in ("wgmma", "mma (auto)", "reference"):
            for which in attention.PASSES:
                self.assertIn(f"| {which} | {provider} | ", done.stdout)
        self.assertIn("not the emulated one", done.stdout)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
