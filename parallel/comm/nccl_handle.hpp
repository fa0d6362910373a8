#pragma once
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "device/gpu.hpp"
#include "parallel/comm/nccl_library.hpp"

namespace espalier::parallel {

/// One of NCCL's communicators, and how its failures are told.
class NcclHandle {
 public:
  /// Of rank `rank` of `size`, which all call with the id that one of them made (new_id).
  /// Collective over them. `what` names it in messages: "the data group". `max_ctas`:
  /// multiprocessors that a call may take; 0: NCCL's choice.
  NcclHandle(const std::string& id, int rank, int size, std::shared_ptr<device::Gpu> gpu,
             std::string what, int max_ctas = 0);
  /// While an exception leaves this rank, the others may be anywhere: nothing collective then, but
  /// kernels that wait for peers end, those of all handles of the process together. One alone would
  /// give memory back, for which CUDA may wait until the kernels of the others have ended, too.
  ~NcclHandle();
  NcclHandle(const NcclHandle&) = delete;
  NcclHandle& operator=(const NcclHandle&) = delete;

  /// The bytes of a ncclUniqueId.
  static std::string new_id();

  ncclComm_t get() const { return comm_; }
  /// Throws Error (internal) with the call, this rank, its GPU and NCCL's words.
  void check(ncclResult_t result, const char* call) const {
    if (result != ncclSuccess) fail_call(result, call);
  }
  void begin_group();
  void end_group();
  /// Ends the job with a message when a call has failed since. From any thread.
  void look_for_errors() const;

 private:
  static void abort_all();
  std::string explain(ncclResult_t result, const char* call) const;
  [[noreturn]] void fail_call(ncclResult_t result, const char* call) const;

  const NcclLibrary& nccl_ = NcclLibrary::of_process();
  int rank_, size_;
  std::shared_ptr<device::Gpu> gpu_;
  std::string what_;
  ncclComm_t comm_ = nullptr;
};

/// Throws Error (bad_configuration) that says what to do when NCCL cannot be had.
void require_nccl();

/// Looks for errors of handles about once a second until it goes: the main thread may wait for a
/// stream that never comes past.
class NcclWatch {
 public:
  explicit NcclWatch(std::vector<const NcclHandle*> handles);
  ~NcclWatch();
  NcclWatch(const NcclWatch&) = delete;
  NcclWatch& operator=(const NcclWatch&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ends_ = false;
  std::thread thread_;
};

}  // namespace espalier::parallel
