#include "io/tensor_file.hpp"

#include <algorithm>
#include <set>
#include <vector>

#include "io/file_place.hpp"
#include "io/hdf5.hpp"

namespace espalier::io {
namespace {

using parallel::TensorSpec;

/// `start` and `count` of a dataset: what `values` holds, without gaps.
void write_block(hid_t dataset, const std::filesystem::path& path,
                 const std::vector<hsize_t>& start, const std::vector<hsize_t>& count,
                 const float* values) {
  const Hdf5Space in_file(ESPALIER_HDF5(io_error, path, H5Dget_space(dataset)));
  ESPALIER_HDF5(io_error, path,
                H5Sselect_hyperslab(in_file.get(), H5S_SELECT_SET, start.data(), nullptr,
                                    count.data(), nullptr));
  const Hdf5Space in_memory(ESPALIER_HDF5(
      io_error, path, H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr)));
  ESPALIER_HDF5(
      io_error, path,
      H5Dwrite(dataset, H5T_NATIVE_FLOAT, in_memory.get(), in_file.get(), H5P_DEFAULT, values));
}

void write_part(hid_t file, const std::filesystem::path& path, const TensorPart& part) {
  const TensorSpec& spec = *part.spec;
  const parallel::Rectangle& r = part.rectangle;
  const FilePlace place = place_of(spec);
  const auto rows = static_cast<hsize_t>(r.rows()), cols = static_cast<hsize_t>(r.cols());
  std::vector<float> packed(static_cast<std::size_t>(r.size()));
  for (std::int64_t i = 0; i < r.rows(); ++i)
    for (std::int64_t j = 0; j < r.cols(); ++j)
      packed[static_cast<std::size_t>(place.transposed ? j * r.rows() + i : i * r.cols() + j)] =
          part.values[i * part.stride + j];
  const Hdf5Dataset dataset(
      ESPALIER_HDF5(io_error, path, H5Dopen2(file, place.name.c_str(), H5P_DEFAULT)));
  const auto first_row = static_cast<hsize_t>(place.offset + r.row_begin);
  const auto first_col = static_cast<hsize_t>(r.col_begin);
  if (place.shape.size() == 1)
    return write_block(dataset.get(), path, {first_row}, {rows}, packed.data());
  if (place.shape.size() == 2 && place.transposed)
    return write_block(dataset.get(), path, {first_col, first_row}, {cols, rows}, packed.data());
  if (place.shape.size() == 2)
    return write_block(dataset.get(), path, {first_row, first_col}, {rows, cols}, packed.data());
  // Of experts: a rectangle may begin and end within one.
  const auto of_expert = static_cast<hsize_t>(place.shape[1]);
  for (hsize_t row = first_row; row < first_row + rows;) {
    const hsize_t in_expert = row % of_expert;
    const hsize_t count = std::min(of_expert - in_expert, first_row + rows - row);
    write_block(dataset.get(), path, {row / of_expert, in_expert, first_col}, {1, count, cols},
                packed.data() + (row - first_row) * cols);
    row += count;
  }
}

}  // namespace

void create_tensor_file(const std::filesystem::path& path, std::span<const TensorSpec> table) {
  const auto lock = hdf5_lock();
  std::error_code ignored;
  require(
      !std::filesystem::exists(path, ignored) || H5Fis_hdf5(path.c_str()) > 0,
      ExitStatus::bad_configuration,
      "{}: is there already, is no HDF5 file and is not overwritten. Move it, or choose another "
      "output.directory",
      path.string());
  Hdf5Output file(path);
  std::set<std::string> made;
  for (const TensorSpec& spec : table) {
    const FilePlace place = place_of(spec);
    if (!made.insert(place.name).second) continue;
    const std::vector<hsize_t> dims(place.shape.begin(), place.shape.end());
    const Hdf5Space space(ESPALIER_HDF5(
        io_error, path, H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr)));
    const Hdf5Dataset dataset(
        ESPALIER_HDF5(io_error, path,
                      H5Dcreate2(file.get(), place.name.c_str(), H5T_IEEE_F32LE, space.get(),
                                 H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)));
  }
  file.close();
}

void write_tensor_parts(const std::filesystem::path& path, std::span<const TensorPart> parts) {
  const auto lock = hdf5_lock();
  Hdf5File file = hdf5_open_to_change(path);
  for (const TensorPart& part : parts)
    if (!part.rectangle.empty()) write_part(file.get(), path, part);
  hdf5_close(std::move(file), path);
}

}  // namespace espalier::io
