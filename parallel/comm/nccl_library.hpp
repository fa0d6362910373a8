#pragma once
#include <nccl.h>

#include <string>

namespace espalier::parallel {

/// The library's functions, found when NCCL is first asked for. Those marked (*) may be null.
struct NcclLibrary {
  std::string why_not;  ///< empty: it is there
  decltype(&ncclGetVersion) get_version = nullptr;
  decltype(&ncclGetUniqueId) get_unique_id = nullptr;
  decltype(&ncclCommInitRankConfig) init_rank = nullptr;
  decltype(&ncclCommDestroy) destroy = nullptr;
  decltype(&ncclCommAbort) abort = nullptr;
  decltype(&ncclCommGetAsyncError) get_async_error = nullptr;
  decltype(&ncclGetErrorString) error_string = nullptr;
  decltype(&ncclGetLastError) last_error = nullptr;  ///< (*) since 2.13
  decltype(&ncclGroupStart) group_start = nullptr;
  decltype(&ncclGroupEnd) group_end = nullptr;
  decltype(&ncclAllReduce) all_reduce = nullptr;
  decltype(&ncclAllGather) all_gather = nullptr;
  decltype(&ncclReduceScatter) reduce_scatter = nullptr;
  decltype(&ncclReduce) reduce = nullptr;
  decltype(&ncclBroadcast) broadcast = nullptr;
  decltype(&ncclSend) send = nullptr;
  decltype(&ncclRecv) receive = nullptr;
  decltype(&ncclMemAlloc) allocate = nullptr;                       ///< (*) since 2.19
  decltype(&ncclMemFree) release = nullptr;                         ///< (*)
  decltype(&ncclCommWindowRegister) register_window = nullptr;      ///< (*) since 2.27
  decltype(&ncclCommWindowDeregister) deregister_window = nullptr;  ///< (*)

  /// Older ones do not keep several communicators of a GPU from waiting for each other.
  static constexpr int kOldest = 22600;

  static const NcclLibrary& of_process();
  static std::string version_text(int version);  ///< 22703 is "2.27.3"

 private:
  NcclLibrary();
};

}  // namespace espalier::parallel
