#include "parallel/comm/nccl_library.hpp"

#include <dlfcn.h>
#include <fmt/core.h>

#include <cstdlib>
#include <type_traits>

namespace espalier::parallel {

const NcclLibrary& NcclLibrary::of_process() {
  static const NcclLibrary library;
  return library;
}

NcclLibrary::NcclLibrary() {
  // Before the library reads them. The ring sums in an order that only depends on the machine;
  // trees and the switch's own sums do not promise that. Registered memory knows no NCCL_ALGO and
  // would take the switch's where NVLS is there.
  setenv("NCCL_ALGO", "Ring", /*overwrite=*/0);
  setenv("NCCL_NVLS_ENABLE", "0", /*overwrite=*/0);
  setenv("NCCL_LAUNCH_ORDER_IMPLICIT", "1", /*overwrite=*/0);
  void* handle = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    why_not = fmt::format("NCCL cannot be loaded ({})", dlerror());
    return;
  }
  const auto find = [&](auto& function, const char* name, bool needed = true) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
    if (needed && function == nullptr) why_not = fmt::format("libnccl.so.2 has no {}", name);
  };
  find(get_version, "ncclGetVersion");
  find(get_unique_id, "ncclGetUniqueId");
  find(init_rank, "ncclCommInitRankConfig");
  find(destroy, "ncclCommDestroy");
  find(abort, "ncclCommAbort");
  find(get_async_error, "ncclCommGetAsyncError");
  find(error_string, "ncclGetErrorString");
  find(last_error, "ncclGetLastError", /*needed=*/false);
  find(group_start, "ncclGroupStart");
  find(group_end, "ncclGroupEnd");
  find(all_reduce, "ncclAllReduce");
  find(all_gather, "ncclAllGather");
  find(reduce_scatter, "ncclReduceScatter");
  find(reduce, "ncclReduce");
  find(broadcast, "ncclBroadcast");
  find(send, "ncclSend");
  find(receive, "ncclRecv");
  find(allocate, "ncclMemAlloc", /*needed=*/false);
  find(release, "ncclMemFree", /*needed=*/false);
  find(register_window, "ncclCommWindowRegister", /*needed=*/false);
  find(deregister_window, "ncclCommWindowDeregister", /*needed=*/false);
  int version = 0;
  if (why_not.empty() && (get_version(&version) != ncclSuccess || version < kOldest))
    why_not = fmt::format("libnccl.so.2 is of version {}, 2.26 is needed", version_text(version));
}

std::string NcclLibrary::version_text(int version) {
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

}  // namespace espalier::parallel
