#include "parallel/comm/nccl_handle.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <utility>

#include "base/error.hpp"
#include "parallel/comm/session.hpp"

namespace espalier::parallel {
namespace {

/// The handles of this process that have a communicator.
struct Handles {
  std::mutex mutex;
  std::vector<NcclHandle*> all;
};
Handles& handles() {
  static Handles handles;
  return handles;
}

}  // namespace

void require_nccl() {
  const std::string& why = NcclLibrary::of_process().why_not;
  require(why.empty(), ExitStatus::bad_configuration,
          "device.communicator = \"nccl\": {}. Put its folder into LD_LIBRARY_PATH, or use "
          "device.communicator = \"mpi\"",
          why);
}

std::string NcclHandle::new_id() {
  const NcclLibrary& nccl = NcclLibrary::of_process();
  ncclUniqueId id{};
  const ncclResult_t result = nccl.get_unique_id(&id);
  require(result == ncclSuccess, ExitStatus::internal, "ncclGetUniqueId failed: {}",
          nccl.error_string(result));
  return {id.internal, sizeof(id.internal)};
}

NcclHandle::NcclHandle(const std::string& id, int rank, int size, std::shared_ptr<device::Gpu> gpu,
                       std::string what, int max_ctas)
    : rank_(rank), size_(size), gpu_(std::move(gpu)), what_(std::move(what)) {
  ncclUniqueId unique{};
  ESPALIER_ASSERT(id.size() == sizeof(unique.internal), "an id of {} bytes", id.size());
  std::memcpy(unique.internal, id.data(), id.size());
  // A communicator belongs to the GPU that is the thread's when it is made.
  if (gpu_->backend() == device::Backend::cuda) {
    const cudaError_t set = cudaSetDevice(gpu_->ordinal());
    require(set == cudaSuccess, ExitStatus::internal, "cudaSetDevice failed on GPU {}: {}",
            gpu_->ordinal(), cudaGetErrorString(set));
  }
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 1;
  if (max_ctas > 0) config.maxCTAs = max_ctas;
  check(nccl_.init_rank(&comm_, size_, unique, rank_, &config), "ncclCommInitRankConfig");
  const std::scoped_lock lock(handles().mutex);
  handles().all.push_back(this);
}

NcclHandle::~NcclHandle() {
  if (std::uncaught_exceptions() > 0) abort_all();
  if (comm_ == nullptr) return;
  {
    const std::scoped_lock lock(handles().mutex);
    std::erase(handles().all, this);
  }
  nccl_.destroy(comm_);
}

// In a group each call tells its kernels to end, and only the end of the group waits for them
// (NCCL's ncclCommAbort; so does torch, abortCommsFromMap).
void NcclHandle::abort_all() {
  const std::scoped_lock lock(handles().mutex);
  if (handles().all.empty()) return;
  const NcclLibrary& nccl = NcclLibrary::of_process();
  nccl.group_start();
  for (NcclHandle* handle : handles().all) nccl.abort(std::exchange(handle->comm_, nullptr));
  nccl.group_end();
  handles().all.clear();
}

void NcclHandle::begin_group() {
  check(nccl_.group_start(), "ncclGroupStart");
}

void NcclHandle::end_group() {
  check(nccl_.group_end(), "ncclGroupEnd");
}

std::string NcclHandle::explain(ncclResult_t result, const char* call) const {
  const char* last = nccl_.last_error != nullptr ? nccl_.last_error(comm_) : nullptr;
  return fmt::format("{} failed on rank {} of {} of {}, GPU {}: {}{}{}", call, rank_, size_, what_,
                     gpu_->ordinal(), nccl_.error_string(result),
                     last != nullptr && *last != '\0' ? ": " : "", last != nullptr ? last : "");
}

void NcclHandle::fail_call(ncclResult_t result, const char* call) const {
  const std::string text = explain(result, call);
  require(text.find("out of memory") == std::string::npos, ExitStatus::bad_configuration,
          "{}. NCCL's buffers have no room beside the plan: give it less of the GPU with "
          "device.memory_gib, or take fewer channels with NCCL_MAX_CTAS",
          text);
  fail(ExitStatus::internal, "{}", text);
}

void NcclHandle::look_for_errors() const {
  const std::scoped_lock lock(handles().mutex);
  if (comm_ == nullptr) return;
  ncclResult_t state = ncclSuccess;
  const ncclResult_t asked = nccl_.get_async_error(comm_, &state);
  if (asked != ncclSuccess) state = asked;
  if (state == ncclSuccess || state == ncclInProgress) return;
  std::fprintf(stderr, "espalier: error: %s\n", explain(state, "a collective").c_str());
  std::fflush(stderr);
  MpiSession::abort(static_cast<int>(ExitStatus::internal));
}

NcclWatch::NcclWatch(std::vector<const NcclHandle*> handles)
    : thread_([this, handles = std::move(handles)] {
        std::unique_lock lock(mutex_);
        while (!changed_.wait_for(lock, std::chrono::seconds(1), [this] { return ends_; }))
          for (const NcclHandle* handle : handles) handle->look_for_errors();
      }) {}

NcclWatch::~NcclWatch() {
  {
    const std::scoped_lock lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

}  // namespace espalier::parallel
