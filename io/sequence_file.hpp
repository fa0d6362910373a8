#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

namespace espalier::io {

/// Sequences of tokens to look at a model with: dataset `tokens` (num_sequences, S+1), any integer
/// type, in an HDF5 file. Column S is only a target.
struct SequenceFile {
  std::int64_t num_sequences = 0;
  std::int64_t sequence_length = 0;   ///< S
  std::vector<std::uint32_t> tokens;  ///< (num_sequences, S+1)
};

/// Throws Error (bad_data): no such file or dataset, not two dimensions of integers, no sequence of
/// at least one token and its target, an id that is negative or not below `vocab_size`.
SequenceFile read_sequences(const std::filesystem::path& path, std::int64_t vocab_size);

/// Throws Error (bad_configuration) when a file of logits must not be written there: nothing is
/// overwritten (io/output_file.hpp). Before the work begins.
void require_new_logits(const std::filesystem::path& path);

/// Writes dataset `logits` (num_sequences, S, V) f32 of such a file, sequence by sequence. The file
/// appears under its name when it is complete.
class LogitsFile {
 public:
  /// Throws Error (bad_configuration) as require_new_logits, or when <path>.partial is there;
  /// Error (io_error).
  LogitsFile(std::filesystem::path path, std::int64_t num_sequences, std::int64_t sequence_length,
             std::int64_t vocab_size);
  ~LogitsFile();  ///< a file that was not finished is removed
  LogitsFile(const LogitsFile&) = delete;
  LogitsFile& operator=(const LogitsFile&) = delete;

  struct Part {
    std::int64_t first, count;
  };
  /// These positions and ids of a sequence's logits from (positions.count, stride) f32.
  void write(std::int64_t sequence, Part positions, Part ids, const float* logits,
             std::int64_t stride);
  void finish();

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace espalier::io
