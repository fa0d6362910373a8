#include "device/pci_place.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <system_error>
#include <vector>

namespace espalier::device {
namespace {

namespace fs = std::filesystem;

int numa_node_of(const fs::path& pci_device) {
  std::ifstream file(pci_device / "numa_node");
  int node = -1;
  return file >> node ? node : -1;
}

/// "pci0000:15" of /sys/devices/pci0000:15/0000:15:01.0/0000:16:00.0.
std::string pci_root_of(const fs::path& pci_device) {
  for (const fs::path& part : pci_device)
    if (part.string().starts_with("pci")) return part.string();
  return {};
}

struct Nic {
  std::string name;
  fs::path pci_device;
};

/// The entries of a class that are PCI devices: virtual interfaces have no device.
void add_nics(std::vector<Nic>& nics, const fs::path& device_class) {
  std::vector<Nic> found;
  std::error_code error;
  for (fs::directory_iterator entry(device_class, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code none;
    const fs::path device = fs::canonical(entry->path() / "device", none);
    if (!none && !pci_root_of(device).empty())
      found.push_back({entry->path().filename().string(), device});
  }
  std::sort(found.begin(), found.end(), [](const Nic& a, const Nic& b) { return a.name < b.name; });
  // The network interface of an InfiniBand device is the same card again.
  std::set<fs::path> known;
  for (const Nic& nic : nics) known.insert(nic.pci_device);
  for (Nic& nic : found)
    if (!known.contains(nic.pci_device)) nics.push_back(std::move(nic));
}

}  // namespace

PciPlace find_pci_place(std::string_view pci_bus, const std::string& sys) {
  PciPlace place;
  std::string bus(pci_bus);
  for (char& c : bus)
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
  std::error_code error;
  const fs::path device = fs::canonical(fs::path(sys) / "bus/pci/devices" / bus, error);
  if (error) return place;
  place.numa_node = numa_node_of(device);

  std::vector<Nic> nics;
  add_nics(nics, fs::path(sys) / "class/infiniband");
  add_nics(nics, fs::path(sys) / "class/net");
  const auto names = [&nics](auto&& is_near) {
    std::string joined;
    for (const Nic& nic : nics)
      if (is_near(nic)) joined += (joined.empty() ? "" : " ") + nic.name;
    return joined;
  };
  const std::string root = pci_root_of(device);
  place.nics = names([&](const Nic& nic) { return pci_root_of(nic.pci_device) == root; });
  if (place.nics.empty() && place.numa_node >= 0)
    place.nics =
        names([&](const Nic& nic) { return numa_node_of(nic.pci_device) == place.numa_node; });
  return place;
}

}  // namespace espalier::device
