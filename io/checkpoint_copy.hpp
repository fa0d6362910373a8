#pragma once
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "io/checkpoint.hpp"

namespace espalier::io {

/// Writes a checkpoint of one file (tensors.h5, as checkpoint.layout = "shared" does, of one rank)
/// into a folder that the caller has made and afterwards gives its name: with moments or, as
/// info.weights_only says, without. Several ranks may write tensors of it:
///   create() on one of them, then write and finish_tensor of each tensor on whichever, flush() on
///   all, complete() on one.
/// All throw Error (io_error).
class OneFileWriter {
 public:
  using Field = CheckpointReader::Field;
  /// Every rank alike. info.is_shared is set, and num_ranks is 1. Writes nothing.
  OneFileWriter(std::filesystem::path folder, const CheckpointInfo& info,
                std::span<const CheckpointReader::TensorShape> tensors);
  ~OneFileWriter();
  /// The file with its structure, without the elements of tensors.
  void create();
  /// values (rectangle.rows(), rectangle.cols()) of a tensor of the constructor.
  void write(std::size_t tensor, Field field, const parallel::Rectangle& rectangle,
             const float* values);
  /// All of it is written: reads it again for its checksums.
  void finish_tensor(std::size_t tensor);
  void flush();  ///< what this rank wrote reaches the disk
  /// Small files beside the tensors, and the marker.
  void complete(std::span<const KeptFile> kept);

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// The small files that a checkpoint keeps beside its tensors. Throws Error (io_error).
std::vector<KeptFile> kept_files(const std::filesystem::path& folder);

}  // namespace espalier::io
