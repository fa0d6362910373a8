#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "io/checkpoint_files.hpp"

namespace espalier::io {

/// A value of a step, as TensorBoard draws them: curves by tag.
struct TensorboardScalar {
  std::string_view tag;
  float value;
};

/// An event file of TensorBoard: records (TFRecord: length, data and their masked CRC-32C) that
/// hold a protobuf message tensorflow.Event each.
/// Source: tensorflow/core: util/event.proto, framework/summary.proto, lib/io/record_writer.h.
class TensorboardFile {
 public:
  /// A new file in `folder`, which is made. `job`: number of the job in its run directory, by which
  /// the files are read one after another. `next_step`: the first step that this job will write;
  /// see start_from.
  /// Throws Error (io_error).
  TensorboardFile(const std::filesystem::path& folder, std::int64_t job, std::int64_t next_step);

  /// One record with one time. `time_s`: since 1970. Throws Error (io_error).
  void add(std::int64_t step, double time_s, const std::vector<TensorboardScalar>& scalars);
  /// From here on the values of `next_step` and of later steps are other ones: those written so far
  /// are dropped by TensorBoard (SessionLog.START). Throws Error (io_error).
  void start_from(std::int64_t next_step);
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  void append(std::string_view event);

  FileDescriptor file_;
  std::uint64_t size_ = 0;
};

/// CRC-32C (Castagnoli) of bytes: RFC 3720, appendix B.4.
std::uint32_t crc32c(std::string_view bytes);

}  // namespace espalier::io
