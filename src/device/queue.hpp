#pragma once
#include <cstdint>

struct CUstream_st;  // cudaStream_t and so on point to these; callers need no header of CUDA
struct CUevent_st;
struct CUgraphExec_st;

namespace espalier::device {

using Stream = CUstream_st*;
using Event = CUevent_st*;
using Graph = CUgraphExec_st*;  ///< work of a stream that is launched as one

/// Where a GPU operator puts its work: a stream, and device memory for partial results that nothing
/// but this stream uses. Kernels of one queue run in order, so that a launcher may use the whole
/// workspace; a result is there once the stream has come past it.
struct Queue {
  Stream stream = nullptr;
  float* workspace = nullptr;  ///< aligned to 16 bytes
  std::int64_t workspace_elements = 0;
};

}  // namespace espalier::device
