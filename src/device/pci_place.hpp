#pragma once
#include <string>
#include <string_view>

namespace espalier::device {

/// Where a PCI device sits, as Linux tells it.
struct PciPlace {
  int numa_node = -1;  ///< -1: not known
  /// InfiniBand devices and network interfaces under the same PCI root or, when there is none
  /// there, on the same NUMA node: "mlx5_0 mlx5_1". May be empty.
  std::string nics;
};

/// `pci_bus`: "0000:1b:00.0". What cannot be read is left out. `sys`: where sysfs is mounted.
PciPlace find_pci_place(std::string_view pci_bus, const std::string& sys = "/sys");

}  // namespace espalier::device
