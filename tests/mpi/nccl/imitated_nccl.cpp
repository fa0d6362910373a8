// A library with NCCL's interface over MPI, for host memory, without streams. Sums are taken in
// rank order in fp32 and rounded once, as the communicator over MPI does. A message that is
// received outside of a group is there when imitated_nccl_finish is called for its stream, and not
// before.
#include <mpi.h>
#include <nccl.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <list>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/dtype.hpp"

// A program whose buffers are the emulated GPU's defines these, and exports them.
extern "C" {
__attribute__((weak)) void imitated_nccl_enter_device_memory();
__attribute__((weak)) void imitated_nccl_leave_device_memory();
}

struct ncclComm {
  MPI_Comm comm;
  int rank, size;
  std::vector<std::pair<const char*, std::size_t>> windows;
  bool is_connected = false;  ///< for messages outside of groups
  bool has_ring = false;
  std::set<int> peers = {};  ///< with which messages have passed
};

namespace {

constexpr int kMessageTag = 1;
/// Of the talk that makes the n-th communicator of a root: four tags from here on.
constexpr int kJoinTag = 16;

/// Receives that are under way, by stream, and sends that hold their data here.
struct Receive {
  int number;  ///< among all receives
  cudaStream_t stream;
  void* place;
  std::vector<char> data;
  MPI_Request request;
};
struct Send {
  std::vector<char> data;
  MPI_Request request;
};
std::list<Receive> receives;
std::list<Send> sends;
int num_receives = 0;

int open_groups = 0;
int num_connections = 0, num_aborts = 0, num_aborts_alone = 0;

/// The first collective of a communicator, or message with a peer, connects.
void use_ring(ncclComm& comm) {
  if (!std::exchange(comm.has_ring, true)) ++num_connections;
}
void use_peer(ncclComm& comm, int peer) {
  if (comm.peers.insert(peer).second) ++num_connections;
}

/// As NCCL does in the first message of a pair: each waits for the other's call.
void connect(ncclComm& comm) {
  if (open_groups > 0 || comm.is_connected) return;
  MPI_Barrier(comm.comm);
  comm.is_connected = true;
}
bool asynchronous_error = false;

/// What a test asks to go wrong: IMITATED_NCCL_FAILS=ncclReduce, or "later".
bool fails(const char* call) {
  const char* asked = std::getenv("IMITATED_NCCL_FAILS");
  if (asked != nullptr && std::string(asked) == "later") asynchronous_error = true;
  return asked != nullptr && std::string(asked) == call;
}

/// Host code may touch device memory while it lives.
struct DeviceMemory {
  DeviceMemory() {
    if (imitated_nccl_enter_device_memory != nullptr) imitated_nccl_enter_device_memory();
  }
  ~DeviceMemory() {
    if (imitated_nccl_leave_device_memory != nullptr) imitated_nccl_leave_device_memory();
  }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
};

/// Whether both buffers lie in windows, and then whether they lie at the same offset on every rank,
/// as NCCL's kernels for symmetric memory take for granted without a look. Not in a group, where
/// NCCL takes other kernels.
bool breaks_symmetry(ncclComm_t comm, const void* send, const void* receive) {
  if (open_groups > 0) return false;
  std::array<double, 4> offsets{-1, -1, 1, 1};
  const std::array<const void*, 2> buffers{send, receive};
  for (std::size_t i = 0; i < 2; ++i)
    for (const auto& [begin, size] : comm->windows) {
      const auto offset = static_cast<const char*>(buffers[i]) - begin;
      if (offset >= 0 && static_cast<std::size_t>(offset) < size) {
        offsets[i] = static_cast<double>(offset);
        offsets[i + 2] = -offsets[i];
      }
    }
  std::array<double, 4> smallest{};
  MPI_Allreduce(offsets.data(), smallest.data(), 4, MPI_DOUBLE, MPI_MIN, comm->comm);
  if (smallest[0] < 0 || smallest[1] < 0) return false;
  return smallest[0] != -smallest[2] || smallest[1] != -smallest[3];
}

/// What the stream was given arrives: receives with lower numbers than `end`.
void finish(cudaStream_t stream, int end = std::numeric_limits<int>::max()) {
  for (auto one = receives.begin(); one != receives.end();) {
    if (one->stream != stream || one->number >= end) {
      ++one;
      continue;
    }
    MPI_Wait(&one->request, MPI_STATUS_IGNORE);
    const DeviceMemory access;
    if (!one->data.empty()) std::memcpy(one->place, one->data.data(), one->data.size());
    one = receives.erase(one);
  }
}
cudaStream_t grouped_stream = nullptr;  ///< of the receives of the open group

std::size_t size_of(ncclDataType_t type) {
  return type == ncclFloat32 ? 4 : type == ncclBfloat16 ? 2 : 1;
}

template <class T>
void sum_in_rank_order(const std::vector<char>& all, int ranks, std::size_t count, void* out) {
  const auto* from = reinterpret_cast<const T*>(all.data());
  for (std::size_t i = 0; i < count; ++i) {
    float sum = static_cast<float>(from[i]);
    for (int r = 1; r < ranks; ++r)
      sum += static_cast<float>(from[static_cast<std::size_t>(r) * count + i]);
    static_cast<T*>(out)[i] = static_cast<T>(sum);
  }
}

/// The sum on every rank.
std::vector<char> summed(const void* send, std::size_t count, ncclDataType_t type, ncclComm_t c) {
  const std::size_t bytes = count * size_of(type);
  std::vector<char> all(bytes * static_cast<std::size_t>(c->size)), sum(bytes);
  MPI_Allgather(send, static_cast<int>(bytes), MPI_BYTE, all.data(), static_cast<int>(bytes),
                MPI_BYTE, c->comm);
  if (type == ncclFloat32)
    sum_in_rank_order<float>(all, c->size, count, sum.data());
  else
    sum_in_rank_order<espalier::bf16>(all, c->size, count, sum.data());
  return sum;
}

}  // namespace

ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  int world_rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
  std::memset(id->internal, 0, sizeof(id->internal));
  std::memcpy(id->internal, "\0not\0text", 9);
  std::memcpy(id->internal + 16, &world_rank, sizeof(world_rank));
  static int num_made = 0;
  std::memcpy(id->internal + 32, &num_made, sizeof(num_made));
  num_made = (num_made + 1) % 1024;
  return ncclSuccess;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int nranks, ncclUniqueId id, int rank,
                                    ncclConfig_t*) {
  *comm = nullptr;
  if (std::memcmp(id.internal, "\0not\0text", 9) != 0) return ncclInvalidArgument;
  int first = 0;  // the group's rank 0 in the world
  std::memcpy(&first, id.internal + 16, sizeof(first));
  int number = 0;
  std::memcpy(&number, id.internal + 32, sizeof(number));
  const int tag = kJoinTag + 4 * number;
  auto* made = new ncclComm{MPI_COMM_NULL, rank, nranks, {}};
  // The group's rank 0 hears who the others are, and tells them all.
  std::vector<int> members(static_cast<std::size_t>(nranks));
  int world_rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
  if (rank == 0) {
    members[0] = world_rank;
    for (int i = 1; i < nranks; ++i) {
      std::array<int, 2> other{};  // its rank in the group and in the world
      MPI_Recv(other.data(), 2, MPI_INT, MPI_ANY_SOURCE, tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      members[static_cast<std::size_t>(other[0])] = other[1];
    }
    for (int i = 1; i < nranks; ++i)
      MPI_Send(members.data(), nranks, MPI_INT, members[static_cast<std::size_t>(i)], tag + 1,
               MPI_COMM_WORLD);
  } else {
    const std::array<int, 2> self{rank, world_rank};
    MPI_Send(self.data(), 2, MPI_INT, first, tag, MPI_COMM_WORLD);
    MPI_Recv(members.data(), nranks, MPI_INT, first, tag + 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  }
  MPI_Group world = MPI_GROUP_NULL, group = MPI_GROUP_NULL;
  MPI_Comm_group(MPI_COMM_WORLD, &world);
  MPI_Group_incl(world, nranks, members.data(), &group);
  MPI_Comm_create_group(MPI_COMM_WORLD, group, tag + 2, &made->comm);
  MPI_Group_free(&group);
  MPI_Group_free(&world);
  int made_rank = 0, made_size = 0;
  MPI_Comm_rank(made->comm, &made_rank);
  MPI_Comm_size(made->comm, &made_size);
  if (made_rank != rank || made_size != nranks) return ncclInvalidArgument;
  *comm = made;
  return ncclSuccess;
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  MPI_Comm_free(&comm->comm);
  delete comm;
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t) {
  ++num_aborts;
  num_aborts_alone += open_groups == 0 ? 1 : 0;
  return ncclSuccess;
}
/// How often something was connected; communicators that were told to end, and how many of them
/// outside of a group, where the call would have waited for the kernels of the others.
extern "C" void imitated_nccl_counts(int* connections, int* aborts, int* aborts_alone) {
  *connections = num_connections;
  *aborts = num_aborts;
  *aborts_alone = num_aborts_alone;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t, ncclResult_t* error) {
  *error = asynchronous_error ? ncclRemoteError : ncclSuccess;
  return ncclSuccess;
}
const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclRemoteError ? "remote error" : "an error";
}
const char* ncclGetLastError(ncclComm_t) {
  const char* asked = std::getenv("IMITATED_NCCL_SAYS");
  return asked != nullptr ? asked : "because it was asked to";
}
ncclResult_t ncclGroupStart() {
  ++open_groups;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  if (--open_groups == 0) finish(grouped_stream);
  return open_groups >= 0 ? ncclSuccess : ncclInvalidUsage;
}
ncclResult_t ncclSend(const void* send, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t) {
  if (fails("ncclSend")) return ncclInternalError;
  use_peer(*comm, peer);
  connect(*comm);
  const DeviceMemory access;
  const auto* begin = static_cast<const char*>(send);
  sends.push_back({{begin, begin + count * size_of(type)}, MPI_REQUEST_NULL});
  MPI_Isend(sends.back().data.data(), static_cast<int>(sends.back().data.size()), MPI_BYTE, peer,
            kMessageTag, comm->comm, &sends.back().request);
  sends.remove_if([](Send& one) {
    int done = 0;
    MPI_Test(&one.request, &done, MPI_STATUS_IGNORE);
    return done != 0;
  });
  return ncclSuccess;
}
ncclResult_t ncclRecv(void* receive, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  if (fails("ncclRecv")) return ncclInternalError;
  use_peer(*comm, peer);
  connect(*comm);
  if (open_groups > 0) grouped_stream = stream;
  receives.push_back({num_receives++, stream, receive, std::vector<char>(count * size_of(type)),
                      MPI_REQUEST_NULL});
  MPI_Irecv(receives.back().data.data(), static_cast<int>(receives.back().data.size()), MPI_BYTE,
            peer, kMessageTag, comm->comm, &receives.back().request);
  return ncclSuccess;
}
/// A moment: how much all streams were given so far.
extern "C" int imitated_nccl_now() {
  return num_receives;
}
/// The stream has come past what it was given before a moment.
extern "C" void imitated_nccl_finish(cudaStream_t stream, int moment) {
  finish(stream, moment);
}
ncclResult_t ncclAllReduce(const void* send, void* receive, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t) {
  if (fails("ncclAllReduce") || op != ncclSum) return ncclInternalError;
  use_ring(*comm);
  const DeviceMemory access;
  if (breaks_symmetry(comm, send, receive)) return ncclInvalidArgument;
  const std::vector<char> sum = summed(send, count, type, comm);
  std::memcpy(receive, sum.data(), sum.size());
  return ncclSuccess;
}
ncclResult_t ncclReduce(const void* send, void* receive, size_t count, ncclDataType_t type,
                        ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t) {
  if (fails("ncclReduce") || op != ncclSum) return ncclInternalError;
  use_ring(*comm);
  const DeviceMemory access;
  const std::vector<char> sum = summed(send, count, type, comm);
  if (comm->rank == root) std::memcpy(receive, sum.data(), sum.size());
  return ncclSuccess;
}
ncclResult_t ncclReduceScatter(const void* send, void* receive, size_t count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t) {
  if (fails("ncclReduceScatter") || op != ncclSum) return ncclInternalError;
  use_ring(*comm);
  const DeviceMemory access;
  if (breaks_symmetry(comm, send, receive)) return ncclInvalidArgument;
  const auto ranks = static_cast<std::size_t>(comm->size);
  const std::vector<char> sum = summed(send, count * ranks, type, comm);
  const std::size_t bytes = count * size_of(type);
  std::memcpy(receive, sum.data() + static_cast<std::size_t>(comm->rank) * bytes, bytes);
  return ncclSuccess;
}
ncclResult_t ncclAllGather(const void* send, void* receive, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t) {
  if (fails("ncclAllGather")) return ncclInternalError;
  use_ring(*comm);
  const DeviceMemory access;
  if (breaks_symmetry(comm, send, receive)) return ncclInvalidArgument;
  const std::size_t bytes = count * size_of(type);
  const std::vector<char> mine(static_cast<const char*>(send),
                               static_cast<const char*>(send) + bytes);
  MPI_Allgather(mine.data(), static_cast<int>(bytes), MPI_BYTE, receive, static_cast<int>(bytes),
                MPI_BYTE, comm->comm);
  return ncclSuccess;
}
ncclResult_t ncclBroadcast(const void* send, void* receive, size_t count, ncclDataType_t type,
                           int root, ncclComm_t comm, cudaStream_t) {
  if (fails("ncclBroadcast")) return ncclInternalError;
  use_ring(*comm);
  const DeviceMemory access;
  const std::size_t bytes = count * size_of(type);
  if (comm->rank == root && send != receive) std::memcpy(receive, send, bytes);
  MPI_Bcast(receive, static_cast<int>(bytes), MPI_BYTE, root, comm->comm);
  return ncclSuccess;
}
ncclResult_t ncclMemAlloc(void** memory, size_t bytes) {
  *memory = std::malloc(bytes);
  return ncclSuccess;
}
ncclResult_t ncclMemFree(void* memory) {
  std::free(memory);
  return ncclSuccess;
}
// The last rank cannot.
ncclResult_t ncclCommWindowRegister(ncclComm_t comm, void* memory, size_t size,
                                    ncclWindow_t* window, int) {
  MPI_Barrier(comm->comm);  // a rank that does not come is noticed
  const bool refuses = fails("ncclCommWindowRegister") && comm->rank == comm->size - 1;
  *window = refuses ? nullptr : static_cast<ncclWindow_t>(memory);
  if (!refuses) comm->windows.emplace_back(static_cast<const char*>(memory), size);
  return ncclSuccess;
}
ncclResult_t ncclCommWindowDeregister(ncclComm_t comm, ncclWindow_t window) {
  std::erase_if(comm->windows, [&](const auto& one) {
    return one.first == reinterpret_cast<const char*>(window);
  });
  return ncclSuccess;
}
