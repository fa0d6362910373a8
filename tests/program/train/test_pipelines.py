"""Whole runs over the stages of a pipeline have the bits of runs without one."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support.runs import RunCase, espalier  # noqa: E402


class Pipelines(RunCase):
    OPTIONS = ["training.steps=8", "checkpoint.interval=4", "validation.interval=4",
               "validation.sequences=40", "model.num_hidden_layers=4"]

    def result(self, name):
        """Losses, norms, losses of validation, and hashes of all weights and moments."""
        validation = (self.folder / name / "validation.csv").read_text()
        hashes = espalier(1, "inspect", "--hashes", self.folder / name)
        self.assertIn("model.norm.weight", hashes)
        return self.history(name), validation, sorted(hashes.splitlines())

    def same(self, name, reference):
        for mine, other in zip(self.result(name), self.result(reference)):
            self.assertEqual(mine, other, name)

    def test_schedules_and_grids(self):
        for tied in ("true", "false"):
            model = f"model.tie_word_embeddings={tied}"
            self.train(f"plain-{tied}", *self.OPTIONS, model)
            for schedule, pipeline, *grid in (
                    ("1f1b", 2), ("zb-v", 2), ("interleaved", 2, "parallel.chunks=2"),
                    ("zb-h1", 4)):
                name = f"{schedule}-{pipeline}-{tied}"
                output = self.train(name, *self.OPTIONS, model, f"parallel.pipeline={pipeline}",
                                    f"parallel.schedule={schedule}", *grid, ranks=pipeline)
                self.assertIn(f"pipeline: {schedule}", output)
                self.same(name, f"plain-{tied}")

    def test_beside_tensor_and_data_ranks(self):
        for axis in ("tensor", "data"):
            beside = f"parallel.{axis}=2"
            self.train(f"{axis}", *self.OPTIONS, beside, ranks=2)
            self.train(f"{axis}-pipeline", *self.OPTIONS, beside, "parallel.pipeline=2", ranks=4)
            self.same(f"{axis}-pipeline", axis)

    def test_a_run_goes_on_with_other_pipelines(self):
        options = [*self.OPTIONS, "schedule.name=constant", "schedule.warmup_steps=2"]
        self.train("whole", *options, "training.steps=16")
        for part, pipeline in enumerate((1, 2, 4, 1)):
            self.train("parts", *options, f"training.steps={4 * (part + 1)}",
                       f"parallel.pipeline={pipeline}", ranks=pipeline)
        self.same("parts", "whole")
        # A replay over the stages of a pipeline, and an evaluation by as many ranks: each has the
        # whole model and sees other sequences.
        output = espalier(2, "verify-resume", self.folder / "whole", "parallel.pipeline=2")
        self.assertIn("have every digit", output)
        losses = [espalier(ranks, "eval", self.folder / "parts", *words,
                           f"data.validation={self.data}", "validation.sequences=40")
                  .splitlines()[-1] for ranks, *words in ((1,), (2, "parallel.pipeline=2"))]
        self.assertIn("bits per byte", losses[0])
        self.assertEqual(*losses)

    def test_what_does_not_fit_says_what_would(self):
        def refused(*overrides, ranks):
            return self.train("refused", *overrides, ranks=ranks, status=78)

        output = refused("parallel.pipeline=3", ranks=2)
        self.assertIn("parallel.pipeline = 3", output)
        output = refused("parallel.pipeline=2", "parallel.schedule=interleaved",
                         "training.global_batch_size=3", "parallel.chunks=2", ranks=2)
        self.assertIn("multiple of 2 micro-batches", output)
        output = refused("parallel.pipeline=2", "parallel.stage_layers=[1,2]", ranks=2)
        self.assertIn("adds up to 3 blocks", output)
        output = refused("parallel.pipeline=2", "parallel.stage_layers=[2]", ranks=2)
        self.assertIn("names 1 stage,", output)
        output = refused("parallel.pipeline=4", "parallel.schedule=zb-v", ranks=4)
        self.assertIn("8 stages", output)


if __name__ == "__main__":
    unittest.main()
