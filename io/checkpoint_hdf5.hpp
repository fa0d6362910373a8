#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/checkpoint_image.hpp"
#include "io/hdf5.hpp"

// What master.h5 and the rank files have in common. The caller holds hdf5_lock().

namespace espalier::io {

inline constexpr std::uint64_t kCheckpointVersion = 1;

/// A new file in HDF5 1.10's format, whose metadata blocks carry checksums, in `image`; `path` is
/// only for messages here and in what follows. What has at least `threshold` bytes begins at a
/// multiple of `alignment`: by default on a page, as the writes then do. Error (io_error).
Hdf5File create_checkpoint_file(Hdf5Image& image, const std::filesystem::path& path,
                                std::uint64_t threshold = 64 * 1024,
                                std::uint64_t alignment = 4096);
/// Opens what create_checkpoint_file made, to change it. Error (io_error).
Hdf5File open_checkpoint_file(Hdf5Image& image, const std::filesystem::path& path);
/// Opens a file of the disk for reading. Error (bad_data).
Hdf5File open_checkpoint_file(const std::filesystem::path& path);
/// Checks the attributes format (else Error, bad_data) and format_version (else bad_configuration).
void require_format(hid_t file, const std::filesystem::path& path, std::string_view format);

Hdf5Group create_group(hid_t parent, const std::filesystem::path& path, const char* name);
/// Text of any length as an attribute: UTF-8 of fixed length, which lies in a metadata block with a
/// checksum (text of variable length would lie in a heap without one). HDF5 guards attributes of a
/// few KiB alone: longer text has a checksum of its own beside it.
void write_text_attribute(hid_t object, const std::filesystem::path& path, const char* name,
                          const std::string& text);
/// Error (bad_data) when it is missing or damaged.
std::string read_text_attribute(hid_t object, const std::filesystem::path& path, const char* name);
/// A matrix (rows, values.size() / rows) of f32 as an attribute, with a checksum beside it.
void write_matrix_attribute(hid_t object, const std::filesystem::path& path, const char* name,
                            std::span<const float> values, std::int64_t rows);
/// Its values and columns. Error (bad_data) when it is none or damaged.
std::vector<float> read_matrix_attribute(hid_t object, const std::filesystem::path& path,
                                         const char* name, std::int64_t& cols);
void write_dataset(hid_t group, const std::filesystem::path& path, const char* name, hid_t type,
                   std::span<const hsize_t> shape, const void* data);
/// A contiguous dataset whose place in the file is fixed now and whose data HDF5 never writes.
/// Returns its offset.
std::uint64_t reserve_dataset(hid_t group, const std::filesystem::path& path, const char* name,
                              hid_t type, std::span<const hsize_t> shape);
/// Throws Error (bad_data) when the dataset has another shape than `shape`.
void read_dataset(hid_t group, const std::filesystem::path& path, const char* name,
                  hid_t memory_type, std::span<const hsize_t> shape, void* data);
/// Extents of a dataset; Error (bad_data).
std::vector<hsize_t> dataset_shape(hid_t group, const std::filesystem::path& path,
                                   const char* name);

}  // namespace espalier::io
