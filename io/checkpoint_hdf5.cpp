#include "io/checkpoint_hdf5.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace espalier::io {

namespace {

Hdf5PropertyList file_access(const std::filesystem::path& path) {
  Hdf5PropertyList access = hdf5_file_access(path);
  ESPALIER_HDF5(io_error, path,
                H5Pset_libver_bounds(access.get(), H5F_LIBVER_V110, H5F_LIBVER_V110));
  return access;
}

}  // namespace

Hdf5File create_checkpoint_file(Hdf5Image& image, const std::filesystem::path& path,
                                std::uint64_t threshold, std::uint64_t alignment) {
  const Hdf5PropertyList access = file_access(path);
  use_image(access.get(), image);
  ESPALIER_HDF5(io_error, path, H5Pset_alignment(access.get(), threshold, alignment));
  return Hdf5File(ESPALIER_HDF5(io_error, path,
                                H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get())));
}

Hdf5File open_checkpoint_file(Hdf5Image& image, const std::filesystem::path& path) {
  const Hdf5PropertyList access = file_access(path);
  use_image(access.get(), image);
  return Hdf5File(ESPALIER_HDF5(io_error, path, H5Fopen(path.c_str(), H5F_ACC_RDWR, access.get())));
}

Hdf5File open_checkpoint_file(const std::filesystem::path& path) {
  return hdf5_open_to_read(path);
}

void require_format(hid_t file, const std::filesystem::path& path, std::string_view format) {
  require(has_attribute(file, "format"), ExitStatus::bad_data,
          "{} is an HDF5 file, but no part of a checkpoint (it has no attribute \"format\")",
          path.string());
  const std::string found = read_string_attribute(file, path, "format");
  require(found == format, ExitStatus::bad_data, "{} has the format \"{}\", not \"{}\"",
          path.string(), found, format);
  const std::uint64_t version = read_u64_attribute(file, path, "format_version");
  // No damage: a run must not pass over it and go on from an older one.
  require(version == kCheckpointVersion, ExitStatus::bad_configuration,
          "{} has format version {}; this program reads version {}. Read it with the program that "
          "wrote it.",
          path.string(), version, kCheckpointVersion);
}

Hdf5Group create_group(hid_t parent, const std::filesystem::path& path, const char* name) {
  return Hdf5Group(ESPALIER_HDF5(io_error, path,
                                 H5Gcreate2(parent, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)));
}

namespace {

std::string checksum_name(const char* attribute) {
  return fmt::format("{}_checksum", attribute);
}

void write_checksum(hid_t object, const std::filesystem::path& path, const char* name,
                    std::span<const std::byte> bytes) {
  write_attribute(object, path, checksum_name(name).c_str(), hash_bytes(bytes));
}

void require_checksum(hid_t object, const std::filesystem::path& path, const char* name,
                      std::span<const std::byte> bytes) {
  require(read_u64_attribute(object, path, checksum_name(name).c_str()) == hash_bytes(bytes),
          ExitStatus::bad_data,
          "{}: the attribute \"{}\" does not have its checksum: the file is damaged", path.string(),
          name);
}

constexpr std::size_t kLongText = 1024;

}  // namespace

void write_text_attribute(hid_t object, const std::filesystem::path& path, const char* name,
                          const std::string& text) {
  Hdf5Type type(ESPALIER_HDF5(io_error, path, H5Tcopy(H5T_C_S1)));
  // HDF5 has no strings of length zero: an empty value is one padding byte.
  ESPALIER_HDF5(io_error, path, H5Tset_size(type.get(), std::max<std::size_t>(text.size(), 1)));
  ESPALIER_HDF5(io_error, path, H5Tset_strpad(type.get(), H5T_STR_NULLPAD));
  ESPALIER_HDF5(io_error, path, H5Tset_cset(type.get(), H5T_CSET_UTF8));
  Hdf5Space space(ESPALIER_HDF5(io_error, path, H5Screate(H5S_SCALAR)));
  Hdf5Attribute attribute(ESPALIER_HDF5(
      io_error, path, H5Acreate2(object, name, type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT)));
  ESPALIER_HDF5(io_error, path, H5Awrite(attribute.get(), type.get(), text.c_str()));
  if (text.size() > kLongText) write_checksum(object, path, name, std::as_bytes(std::span(text)));
}

std::string read_text_attribute(hid_t object, const std::filesystem::path& path, const char* name) {
  std::string text = read_string_attribute(object, path, name);
  // Older checkpoints of this version have none.
  if (text.size() > kLongText && has_attribute(object, checksum_name(name).c_str()))
    require_checksum(object, path, name, std::as_bytes(std::span(text)));
  return text;
}

void write_matrix_attribute(hid_t object, const std::filesystem::path& path, const char* name,
                            std::span<const float> values, std::int64_t rows) {
  const hsize_t extent[] = {static_cast<hsize_t>(rows), values.size() / static_cast<hsize_t>(rows)};
  const Hdf5Space space(ESPALIER_HDF5(io_error, path, H5Screate_simple(2, extent, nullptr)));
  const Hdf5Attribute attribute(ESPALIER_HDF5(
      io_error, path,
      H5Acreate2(object, name, H5T_IEEE_F32LE, space.get(), H5P_DEFAULT, H5P_DEFAULT)));
  ESPALIER_HDF5(io_error, path, H5Awrite(attribute.get(), H5T_NATIVE_FLOAT, values.data()));
  write_checksum(object, path, name, std::as_bytes(values));
}

std::vector<float> read_matrix_attribute(hid_t object, const std::filesystem::path& path,
                                         const char* name, std::int64_t& cols) {
  const Hdf5Attribute attribute(ESPALIER_HDF5(bad_data, path, H5Aopen(object, name, H5P_DEFAULT)));
  const Hdf5Space space(ESPALIER_HDF5(bad_data, path, H5Aget_space(attribute.get())));
  hsize_t extent[2] = {};
  require(H5Sget_simple_extent_ndims(space.get()) == 2, ExitStatus::bad_data,
          "{}: the attribute \"{}\" is no matrix: the file is damaged", path.string(), name);
  ESPALIER_HDF5(bad_data, path, H5Sget_simple_extent_dims(space.get(), extent, nullptr));
  constexpr hsize_t kMost = 1 << 24;  // a damaged file may hold any
  require(extent[0] <= kMost && extent[1] <= kMost && extent[0] * extent[1] <= kMost,
          ExitStatus::bad_data, "{}: the attribute \"{}\" is ({}, {}): the file is damaged",
          path.string(), name, extent[0], extent[1]);
  std::vector<float> values(extent[0] * extent[1]);
  ESPALIER_HDF5(bad_data, path, H5Aread(attribute.get(), H5T_NATIVE_FLOAT, values.data()));
  require_checksum(object, path, name, std::as_bytes(std::span<const float>(values)));
  cols = static_cast<std::int64_t>(extent[1]);
  return values;
}

void write_dataset(hid_t group, const std::filesystem::path& path, const char* name, hid_t type,
                   std::span<const hsize_t> shape, const void* data) {
  Hdf5Space space(ESPALIER_HDF5(
      io_error, path, H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr)));
  Hdf5Dataset dataset(ESPALIER_HDF5(
      io_error, path,
      H5Dcreate2(group, name, type, space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)));
  if (H5Sget_simple_extent_npoints(space.get()) == 0) return;
  ESPALIER_HDF5(io_error, path, H5Dwrite(dataset.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data));
}

std::uint64_t reserve_dataset(hid_t group, const std::filesystem::path& path, const char* name,
                              hid_t type, std::span<const hsize_t> shape) {
  Hdf5Space space(ESPALIER_HDF5(
      io_error, path, H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr)));
  Hdf5PropertyList creation(ESPALIER_HDF5(io_error, path, H5Pcreate(H5P_DATASET_CREATE)));
  ESPALIER_HDF5(io_error, path, H5Pset_layout(creation.get(), H5D_CONTIGUOUS));
  ESPALIER_HDF5(io_error, path, H5Pset_alloc_time(creation.get(), H5D_ALLOC_TIME_EARLY));
  ESPALIER_HDF5(io_error, path, H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER));
  Hdf5Dataset dataset(ESPALIER_HDF5(
      io_error, path,
      H5Dcreate2(group, name, type, space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT)));
  const haddr_t offset = H5Dget_offset(dataset.get());
  if (offset == HADDR_UNDEF) hdf5_failed(ExitStatus::io_error, path, "H5Dget_offset");
  return offset;
}

std::vector<hsize_t> dataset_shape(hid_t group, const std::filesystem::path& path,
                                   const char* name) {
  const Hdf5Dataset dataset(ESPALIER_HDF5(bad_data, path, H5Dopen2(group, name, H5P_DEFAULT)));
  const Hdf5Space space(ESPALIER_HDF5(bad_data, path, H5Dget_space(dataset.get())));
  const int rank = ESPALIER_HDF5(bad_data, path, H5Sget_simple_extent_ndims(space.get()));
  std::vector<hsize_t> shape(static_cast<std::size_t>(rank));
  ESPALIER_HDF5(bad_data, path, H5Sget_simple_extent_dims(space.get(), shape.data(), nullptr));
  return shape;
}

void read_dataset(hid_t group, const std::filesystem::path& path, const char* name,
                  hid_t memory_type, std::span<const hsize_t> shape, void* data) {
  const std::vector<hsize_t> found = dataset_shape(group, path, name);
  require(std::equal(found.begin(), found.end(), shape.begin(), shape.end()), ExitStatus::bad_data,
          "{}: \"{}\" has not the shape that the rest of the file says", path.string(), name);
  const Hdf5Dataset dataset(ESPALIER_HDF5(bad_data, path, H5Dopen2(group, name, H5P_DEFAULT)));
  if (std::find(shape.begin(), shape.end(), hsize_t{0}) != shape.end()) return;
  ESPALIER_HDF5(bad_data, path,
                H5Dread(dataset.get(), memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data));
}

}  // namespace espalier::io
