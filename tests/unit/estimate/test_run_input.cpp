#include <catch2/catch.hpp>

#include "../../support/expect_error.hpp"
#include "../../support/scratch_folder.hpp"
#include "base/whole_file.hpp"
#include "io/toml_reader.hpp"
#include "plan/estimate/run_input.hpp"
#include "planned_devices.hpp"

using namespace espalier;

namespace {

plan::Layout planned_layout() {
  config::Parameters run = testing::small_run();
  run.data.train = "data/a \"b\"";
  run.data.document_mask = true;
  run.checkpoint.interval = 50;
  run.plan.ranks = 4;
  run.hardware = testing::device();
  return plan::best_layout(run, testing::device(), 4);
}

}  // namespace

TEST_CASE("a written run input is read back as the layout's parameters") {
  const plan::Layout layout = planned_layout();
  const std::string text = plan::run_input(layout, testing::device());
  config::Parameters read;
  io::read_parameters(text, "written.toml", {}, read);
  config::resolve(read, 4, config::Use::planning);
  config::Parameters expected = layout.parameters;
  expected.plan = {};
  expected.hardware = {};
  CHECK(config::to_toml(read) == config::to_toml(expected));
  testing::expect_words(text, {"# small on 4 x Test GPU", "Expected", "tokens/s", "[parallel]",
                               "zero_stage = ", "recompute = "});
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = text.find('\n', begin);
    CHECK(end - begin <= 100);
    begin = end + 1;
  }
}

TEST_CASE("a run input is written under the name of run, ranks and device, and never over a file") {
  const testing::ScratchFolder folder;
  const plan::Layout layout = planned_layout();
  const std::string inner = (folder.path() / "new" / "folder").string();
  const std::string path = plan::write_run_input(inner, layout, testing::device());
  CHECK(path == inner + "/small-4-test-gpu.toml");
  CHECK(read_whole_file(path) == plan::run_input(layout, testing::device()));
  try {
    plan::write_run_input(inner, layout, testing::device());
    FAIL("it was overwritten");
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::bad_configuration);
    testing::expect_words(error.what(), {"small-4-test-gpu.toml", "plan.write"});
  }
  try {
    plan::write_run_input(path, layout, testing::device());
    FAIL("a file is no folder");
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::io_error);
  }
}
