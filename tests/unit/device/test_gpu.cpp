#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <vector>

#include "device/context.hpp"
#include "device/gpu_backends.hpp"
#include "device/pci_place.hpp"
#include "support/scratch_folder.hpp"

namespace espalier::device {
namespace {

namespace fs = std::filesystem;

/// A PCI device in a made-up sysfs, with the link by which its bus address is found.
fs::path add_pci(const fs::path& sys, const std::string& path, int numa_node) {
  const fs::path device = sys / "devices" / path;
  fs::create_directories(device);
  std::ofstream(device / "numa_node") << numa_node << '\n';
  fs::create_directories(sys / "bus/pci/devices");
  fs::create_symlink(device, sys / "bus/pci/devices" / device.filename());
  return device;
}

void add_class(const fs::path& sys, const std::string& name, const fs::path& device) {
  fs::create_directories(sys / "class" / name);
  if (!device.empty()) fs::create_symlink(device, sys / "class" / name / "device");
}

}  // namespace

TEST_CASE("a GPU that is not there is the configuration's fault, with CUDA's reason", "[gpu]") {
  const int count = Gpu::count(Backend::cuda);
  CHECK(Gpu::why_none(Backend::cuda).empty() == (count > 0));
  try {
    Gpu::open(Backend::cuda, count);
    FAIL("there is no GPU " << count);
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::bad_configuration);
    const std::string message = error.what();
    if (count == 0) {
      CHECK_THAT(message, Catch::Contains(Gpu::why_none(Backend::cuda)));
      CHECK_THAT(message, Catch::Contains("device.backend"));
    }
#ifdef ESPALIER_HAS_CUDA
    if (count == 0) CHECK_THAT(message, Catch::Contains("cudaError"));
#endif
  }
  CHECK(Gpu::count(Backend::emulated) > 0);
  CHECK(Gpu::uuids().size() == static_cast<std::size_t>(count));
}

TEST_CASE("kernels fit the architectures that they were compiled for", "[gpu]") {
  CHECK(has_code_for("90a 100a", 90));
  CHECK(has_code_for("90a 100a", 100));
  CHECK_FALSE(has_code_for("90a 100a", 103));
  CHECK_FALSE(has_code_for("90a 100a", 80));
  CHECK(has_code_for("80", 86));
  CHECK_FALSE(has_code_for("86", 80));
  CHECK_FALSE(has_code_for("80", 90));
  CHECK_FALSE(has_code_for("", 90));
  CHECK(has_code_for("100f", 103));
  CHECK_FALSE(has_code_for("100f", 120));
  // The default list: A100, A6000, L40, H100, B200, B300, RTX, DGX Spark.
  for (const int capability : {80, 86, 89, 90, 100, 103, 120, 121})
    CHECK(has_code_for("80 90a 100 120", capability));
  // What the refusal names must not be refused again, nor leave Hopper's attention out.
  for (const int capability : {80, 86, 89, 90, 100, 103, 120})
    CHECK(has_code_for(architecture_for(capability), capability));
  CHECK(architecture_for(90) == "90a");
}

TEST_CASE("network devices are found under the GPU's PCI root, then on its NUMA node", "[gpu]") {
  const testing::ScratchFolder scratch;
  const fs::path sys = scratch.path();
  add_pci(sys, "pci0000:15/0000:15:01.0/0000:1b:00.0", 0);
  const fs::path near = add_pci(sys, "pci0000:15/0000:15:02.0/0000:1c:00.0", 0);
  const fs::path same_node = add_pci(sys, "pci0000:37/0000:38:00.0", 0);
  const fs::path far = add_pci(sys, "pci0000:97/0000:98:00.0", 1);
  add_pci(sys, "pci0000:57/0000:58:00.0", 1);
  add_class(sys, "infiniband/mlx5_0", near);
  add_class(sys, "infiniband/mlx5_1", far);
  add_class(sys, "net/ib0", near);  // the same card as mlx5_0
  add_class(sys, "net/eth0", same_node);
  add_class(sys, "net/lo", {});

  const PciPlace place = find_pci_place("0000:1B:00.0", sys);
  CHECK(place.numa_node == 0);
  CHECK(place.nics == "mlx5_0");
  CHECK(find_pci_place("0000:58:00.0", sys).nics == "mlx5_1");
  const PciPlace nowhere = find_pci_place("0000:ff:00.0", sys);
  CHECK(nowhere.numa_node == -1);
  CHECK(nowhere.nics.empty());
}

}  // namespace espalier::device
