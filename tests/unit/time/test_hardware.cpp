#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "base/error.hpp"
#include "plan/time/step_time.hpp"
#include "support/scratch_folder.hpp"

using namespace espalier;

namespace {

std::string written(const testing::ScratchFolder& folder, const std::string& text) {
  const std::string path = folder.path() / "device.toml";
  std::ofstream(path) << text;
  return path;
}

}  // namespace

TEST_CASE("every device of inputs/devices is read, and has what plans need") {
  std::size_t number = 0;
  const auto folder = std::filesystem::path(ESPALIER_SOURCE_DIR) / "inputs" / "devices";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    INFO(entry.path().string());
    const config::HardwareParameters hardware = plan::read_hardware(entry.path().string());
    ++number;
    CHECK(hardware.memory_gib > 0.0);
    if (hardware.kind != "gpu") continue;
    CHECK(hardware.compute_capability >= 80);
    CHECK(hardware.product_bf16_tflops < hardware.peak_bf16_tflops);
    CHECK(hardware.copy_gbs < hardware.memory_gbs);
    CHECK(hardware.network_gbs > 0.0);
  }
  CHECK(number >= 9);
}

TEST_CASE("a device is a file, or a name of inputs/devices, and others are told which there are") {
  const testing::ScratchFolder folder;
  CHECK(plan::read_hardware(written(folder, "[hardware]\nname = \"mine\"\n")).name == "mine");
  CHECK_THROWS_WITH(plan::read_hardware("b20O"), Catch::Contains("no device \"b20O\""));
  CHECK_THROWS_WITH(plan::read_hardware(written(folder, "[hardware]\nkind = \"gpu\"\n")),
                    Catch::Contains("needs a [hardware] table with a name"));
  CHECK_THROWS_WITH(
      plan::read_hardware(written(folder, "[hardware]\nname = \"x\"\n[model]\nvocab_size = 7\n")),
      Catch::Contains("a [hardware] table only, not [model]"));
  CHECK_THROWS_WITH(
      plan::read_hardware(written(folder, "[hardware]\nname = \"x\"\nmemry_gib = 8\n")),
      Catch::Contains("memory_gib"));
}

TEST_CASE("plan.device names devices, and the input's own is taken where it names none") {
  config::Parameters p;
  CHECK_THROWS_WITH(plan::hardware_of(p), Catch::Contains("plan.device"));
  p.hardware.name = "mine";
  CHECK(plan::hardware_of(p).front().name == "mine");
  const testing::ScratchFolder folder;
  p.plan.device = {written(folder, "[hardware]\nname = \"another\"\n")};
  REQUIRE(plan::hardware_of(p).size() == 1);
  CHECK(plan::hardware_of(p).front().name == "another");
}
