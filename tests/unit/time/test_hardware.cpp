#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "base/error.hpp"
#include "plan/time/step_time.hpp"

using namespace espalier;

namespace {

const std::filesystem::path kDevices =
    std::filesystem::path(ESPALIER_SOURCE_DIR) / "inputs/devices";

/// A file of the test's own, gone when it ends.
class DeviceFile {
 public:
  explicit DeviceFile(const std::string& text)
      : path_(std::filesystem::temp_directory_path() /
              ("espalier-device-" + std::to_string(::getpid()) + ".toml")) {
    std::ofstream(path_) << text;
  }
  ~DeviceFile() { std::filesystem::remove(path_); }
  std::string name() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

std::string message_of(const std::string& device) {
  try {
    plan::read_hardware(device);
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::bad_configuration);
    return error.what();
  }
  return "";
}

using Catch::Contains;

}  // namespace

TEST_CASE("every device file has the figures of a GPU") {
  int num_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kDevices)) {
    const config::HardwareParameters h = plan::read_hardware(entry.path().string());
    CAPTURE(h.name);
    ++num_files;
    if (h.kind != "gpu") continue;
    CHECK(h.product_bf16_tflops > 0.5 * h.peak_bf16_tflops);
    CHECK(h.product_bf16_tflops < h.peak_bf16_tflops);
    CHECK(h.product_fp8_tflops < std::max(h.peak_fp8_tflops, 1.0));
    CHECK(h.attention_forward_tflops < h.peak_bf16_tflops);
    CHECK(h.attention_backward_tflops < h.attention_forward_tflops);
    CHECK(h.copy_gbs > 0.75 * h.memory_gbs);
    CHECK(h.copy_gbs < h.memory_gbs);
    CHECK(h.link_bus_gbs < h.link_gbs);
    CHECK(h.network_bus_gbs < h.network_gbs);
    CHECK(h.memory_gib > 0);
    CHECK(h.multiprocessors > 0);
    CHECK(h.compute_capability >= 80);
    CHECK(h.overhead_us > 0);
  }
  CHECK(num_files >= 9);
}

TEST_CASE("a device is found beside the program") {
  // The tests' working directory is the build folder, beside which inputs/devices lies.
  CHECK(plan::read_hardware("b200").name == "B200");
  CHECK(plan::read_hardware((kDevices / "h100.toml").string()).devices_per_node == 8);
}

TEST_CASE("an unknown device is told with those that there are and the nearest") {
  CHECK_THAT(message_of("b20O"), Contains("no device \"b20O\"") && Contains("\"b200\"") &&
                                     Contains("a100-80") && Contains("[hardware]"));
  CHECK_THAT(message_of("no/such.toml"), Contains("no/such.toml is not there"));
  CHECK_THAT(message_of(""), Contains("plan.device"));
}

TEST_CASE("the file of a device has a [hardware] table and no other") {
  CHECK_THAT(message_of(DeviceFile("[hardware]\nname = \"x\"\n[training]\nsteps = 3\n").name()),
             Contains("not [training]"));
  CHECK_THAT(message_of(DeviceFile("[model]\nhidden_size = 64\n").name()),
             Contains("needs a [hardware] table with a name"));
  CHECK_THAT(message_of(DeviceFile("[hardware]\nname = \"x\"\ncopy_gb = 1.0\n").name()),
             Contains("copy_gb") && Contains("copy_gbs"));
  CHECK_THAT(message_of(DeviceFile("[hardware]\nname = \"x\"\nlink_gbs = -1.0\n").name()),
             Contains("link_gbs"));
  CHECK_THAT(message_of(DeviceFile("not toml").name()), Contains("not TOML"));
}

TEST_CASE("the input's own [hardware] counts where no device is named") {
  config::Parameters p;
  try {
    plan::hardware_of(p);
    FAIL("no device was asked for");
  } catch (const Error& error) {
    CHECK_THAT(error.what(), Contains("--device") && Contains("b200"));
  }
  p.hardware.name = "mine";
  CHECK(plan::hardware_of(p).at(0).name == "mine");
  p.plan.device = {"h100", "b200"};
  const auto devices = plan::hardware_of(p);
  REQUIRE(devices.size() == 2);
  CHECK(devices[1].name == "B200");
}
