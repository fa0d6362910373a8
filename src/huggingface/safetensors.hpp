#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "io/checkpoint_files.hpp"

// The safetensors format: 8 bytes little-endian length N of the header, N bytes of JSON
// {"name": {"dtype": "BF16", "shape": [r, c], "data_offsets": [begin, end]}, "__metadata__": {...}}
// with offsets from the end of the header, then the data, row-major, little-endian, without holes.

namespace espalier::huggingface {

/// One tensor of a file.
struct StoredTensor {
  std::string name;
  std::string dtype;  ///< as the file says: "F32", "BF16", "F16", ...
  std::vector<std::int64_t> shape;
  std::uint64_t offset = 0;  ///< of its first byte in the file
  std::uint64_t bytes = 0;
  std::uint64_t num_elements() const;
};

/// Bytes of an element; 0: no such dtype, or none of whole bytes.
std::uint64_t bytes_of(std::string_view dtype);
/// Whether read_elements takes the dtype: F32, BF16, F16.
bool is_readable(std::string_view dtype);
std::string describe_shape(const std::vector<std::int64_t>& shape);  ///< "(151936, 1024)"

/// Length of the JSON from the first 8 bytes. Throws Error (bad_data) when it does not fit a file
/// of `file_bytes` or is above 100 MB, the bound of the reference implementation.
std::uint64_t header_length(const std::filesystem::path& file, std::string_view first_bytes,
                            std::uint64_t file_bytes);
/// The tensors by offset. Throws Error (bad_data) for whatever the format does not allow: unknown
/// dtype, a size that is not shape x dtype, overlapping tensors, holes, a name twice.
std::vector<StoredTensor> parse_header(const std::filesystem::path& file, std::string_view json,
                                       std::uint64_t file_bytes);

/// A file whose header was read and checked.
class SafetensorsFile {
 public:
  /// Throws Error (io_error, bad_data).
  explicit SafetensorsFile(const std::filesystem::path& path);
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  /// Elements [first, first + count) of a tensor of this file as f32, exactly.
  void read_elements(const StoredTensor& tensor, std::uint64_t first, std::uint64_t count,
                     float* out) const;

 private:
  io::FileDescriptor file_;
  std::vector<StoredTensor> tensors_;
};

/// The first bytes of a file of these tensors, in this order; sets their offset and bytes.
std::string make_header(std::vector<StoredTensor>& tensors);
/// Bytes of a file of these tensors (make_header was called).
std::uint64_t file_bytes(const std::vector<StoredTensor>& tensors, std::string_view header);

/// Writes f32 values as elements [first, first + count) of the tensor in its dtype, rounded to
/// nearest even. Throws Error (bad_data) that names the tensor when a finite value is infinite as
/// F16.
void write_elements(io::FileDescriptor& file, const StoredTensor& tensor, std::uint64_t first,
                    std::uint64_t count, const float* values);

}  // namespace espalier::huggingface
