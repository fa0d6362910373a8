#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.hpp"
#include "base/text.hpp"
#include "io/checkpoint_files.hpp"
#include "io/checkpoint_format.hpp"
#include "io/checkpoint_hdf5.hpp"

namespace espalier::io {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMasterFormat = "espalier checkpoint";
constexpr std::size_t kRectangleColumns = 6;
constexpr std::size_t kShapeColumns = 3;

void write_info(hid_t file, const fs::path& path, const CheckpointInfo& info) {
  write_attribute(file, path, "format", std::string(kMasterFormat));
  write_attribute(file, path, "format_version", kCheckpointVersion);
  write_attribute(file, path, "step", static_cast<std::uint64_t>(info.step));
  write_attribute(file, path, "samples_consumed", info.samples_consumed);
  write_attribute(file, path, "tokens_consumed", info.tokens_consumed);
  write_attribute(file, path, "adam_step", static_cast<std::uint64_t>(info.adam_step));
  write_attribute(file, path, "num_ranks", static_cast<std::uint64_t>(info.num_ranks));
  write_text_attribute(file, path, "resolved_input", info.resolved_input);
  write_text_attribute(file, path, "tokenizer_identity", info.tokenizer_identity);
  write_text_attribute(file, path, "tokenizer_file", info.tokenizer_file);
  write_text_attribute(file, path, "data_identity", info.data_identity);
  write_text_attribute(file, path, "build", info.build);
  write_text_attribute(file, path, "grid", info.grid);
  if (!info.allowed_changes.empty())
    write_text_attribute(file, path, "allowed_changes", info.allowed_changes);
  if (info.num_spikes > 0)
    write_attribute(file, path, "num_spikes", static_cast<std::uint64_t>(info.num_spikes));
  if (info.saved_at > 0)
    write_attribute(file, path, "saved_at", static_cast<std::uint64_t>(info.saved_at));
  if (!info.job.empty()) write_text_attribute(file, path, "job", info.job);
  if (info.is_shared) write_attribute(file, path, "layout", std::string("shared"));
  if (info.weights_only) write_attribute(file, path, "weights_only", std::uint64_t{1});
  if (!info.expert_bias.empty())
    write_matrix_attribute(file, path, "expert_bias", info.expert_bias,
                           std::ssize(info.expert_bias) / info.num_experts);
}

/// A number of the file as `Integer`; a damaged file may hold any.
template <class Integer>
Integer read_count(hid_t object, const fs::path& path, const char* name) {
  const std::uint64_t value = read_u64_attribute(object, path, name);
  require(std::in_range<Integer>(value), ExitStatus::bad_data,
          "{}: the attribute \"{}\" is {}: the file is damaged", path.string(), name, value);
  return static_cast<Integer>(value);
}

CheckpointInfo read_info(hid_t file, const fs::path& path) {
  CheckpointInfo info;
  info.step = read_count<std::int64_t>(file, path, "step");
  info.samples_consumed = read_u64_attribute(file, path, "samples_consumed");
  info.tokens_consumed = read_u64_attribute(file, path, "tokens_consumed");
  info.adam_step = read_count<std::int64_t>(file, path, "adam_step");
  info.num_ranks = read_count<int>(file, path, "num_ranks");
  info.resolved_input = read_text_attribute(file, path, "resolved_input");
  info.tokenizer_identity = read_text_attribute(file, path, "tokenizer_identity");
  // Older checkpoints of this version have neither.
  if (has_attribute(file, "tokenizer_file"))
    info.tokenizer_file = read_text_attribute(file, path, "tokenizer_file");
  if (has_attribute(file, "data_identity"))
    info.data_identity = read_text_attribute(file, path, "data_identity");
  if (has_attribute(file, "allowed_changes"))
    info.allowed_changes = read_text_attribute(file, path, "allowed_changes");
  if (has_attribute(file, "num_spikes"))
    info.num_spikes = read_count<std::int64_t>(file, path, "num_spikes");
  info.is_shared =
      has_attribute(file, "layout") && read_string_attribute(file, path, "layout") == "shared";
  if (has_attribute(file, "saved_at"))
    info.saved_at = read_count<std::int64_t>(file, path, "saved_at");
  if (has_attribute(file, "job")) info.job = read_text_attribute(file, path, "job");
  info.build = read_text_attribute(file, path, "build");
  info.grid = read_text_attribute(file, path, "grid");
  info.weights_only =
      has_attribute(file, "weights_only") && read_u64_attribute(file, path, "weights_only") != 0;
  if (has_attribute(file, "expert_bias"))
    info.expert_bias = read_matrix_attribute(file, path, "expert_bias", info.num_experts);
  return info;
}

/// The index as it lies in the file: three tables and the names, padded to one width.
struct IndexTables {
  std::size_t name_width = 1;
  std::string names;
  std::vector<std::int64_t> shapes, rectangles;

  /// HDF5 guards its metadata, not the data of datasets: this guards the index.
  std::uint64_t checksum() const {
    std::uint64_t hash = hash_text(names);
    hash = hash_bytes(std::as_bytes(std::span(shapes)), hash);
    return hash_bytes(std::as_bytes(std::span(rectangles)), hash);
  }
};

IndexTables tables_of(const CheckpointIndex& index) {
  IndexTables tables;
  for (const auto& tensor : index.tensors) {
    tables.name_width = std::max(tables.name_width, tensor.name.size());
  }
  for (const auto& tensor : index.tensors) {
    std::string name = tensor.name;
    name.resize(tables.name_width, '\0');
    tables.names += name;
    tables.shapes.insert(tables.shapes.end(), {tensor.rows, tensor.cols, tensor.is_vector ? 1 : 0});
  }
  for (const IndexEntry& entry : index.entries) {
    const parallel::Rectangle& r = entry.rectangle;
    tables.rectangles.insert(tables.rectangles.end(), {entry.tensor, entry.rank, r.row_begin,
                                                       r.row_end, r.col_begin, r.col_end});
  }
  return tables;
}

Hdf5Type name_type(const fs::path& path, std::size_t width) {
  Hdf5Type type(ESPALIER_HDF5(io_error, path, H5Tcopy(H5T_C_S1)));
  ESPALIER_HDF5(io_error, path, H5Tset_size(type.get(), width));
  ESPALIER_HDF5(io_error, path, H5Tset_strpad(type.get(), H5T_STR_NULLPAD));
  ESPALIER_HDF5(io_error, path, H5Tset_cset(type.get(), H5T_CSET_UTF8));
  return type;
}

void write_index(hid_t file, const fs::path& path, const CheckpointIndex& index) {
  const IndexTables tables = tables_of(index);
  const Hdf5Group group = create_group(file, path, "index");
  const hsize_t num_tensors = index.tensors.size();
  const hsize_t shape_extent[] = {num_tensors, kShapeColumns};
  const hsize_t rectangle_extent[] = {index.entries.size(), kRectangleColumns};
  const Hdf5Type text = name_type(path, tables.name_width);
  write_dataset(group.get(), path, "tensors", text.get(), std::span(&num_tensors, 1),
                tables.names.data());
  write_dataset(group.get(), path, "shapes", H5T_NATIVE_INT64, shape_extent, tables.shapes.data());
  write_dataset(group.get(), path, "rectangles", H5T_NATIVE_INT64, rectangle_extent,
                tables.rectangles.data());
  write_attribute(group.get(), path, "shapes_columns", std::string("rows cols is_vector"));
  write_attribute(group.get(), path, "rectangles_columns",
                  std::string("tensor rank row_begin row_end col_begin col_end"));
  write_attribute(group.get(), path, "name_width", tables.name_width);
  write_attribute(group.get(), path, "checksum", tables.checksum());
}

CheckpointIndex read_index(hid_t file, const fs::path& path, int num_ranks, bool is_shared) {
  const Hdf5Group group(ESPALIER_HDF5(bad_data, path, H5Gopen2(file, "index", H5P_DEFAULT)));
  IndexTables tables;
  tables.name_width = read_u64_attribute(group.get(), path, "name_width");
  const auto num_rows = [&](const char* name) {
    const std::vector<hsize_t> shape = dataset_shape(group.get(), path, name);
    // Far above any model; a damaged extent must not become an allocation of that size.
    constexpr hsize_t kMaxRows = hsize_t{1} << 28;
    require(!shape.empty() && shape[0] <= kMaxRows, ExitStatus::bad_data,
            "{}: index/{} has no number of rows: the file is damaged", path.string(), name);
    return shape[0];
  };
  const hsize_t num_tensors = num_rows("tensors");
  const hsize_t num_entries = num_rows("rectangles");
  require(tables.name_width >= 1 && tables.name_width <= 4096 && num_ranks >= 1 &&
              (is_shared || num_rows("rank_file_bytes") == static_cast<hsize_t>(num_ranks)),
          ExitStatus::bad_data, "{}: the index does not fit its attributes: the file is damaged",
          path.string());
  const hsize_t shape_extent[] = {num_tensors, kShapeColumns};
  const hsize_t rectangle_extent[] = {num_entries, kRectangleColumns};
  const hsize_t rank_extent[] = {static_cast<hsize_t>(num_ranks)};
  tables.names.resize(num_tensors * tables.name_width);
  tables.shapes.resize(num_tensors * kShapeColumns);
  tables.rectangles.resize(num_entries * kRectangleColumns);
  CheckpointIndex index;
  if (!is_shared) index.rank_file_bytes.resize(rank_extent[0]);
  const Hdf5Type text = name_type(path, tables.name_width);
  read_dataset(group.get(), path, "tensors", text.get(), std::span(&num_tensors, 1),
               tables.names.data());
  read_dataset(group.get(), path, "shapes", H5T_NATIVE_INT64, shape_extent, tables.shapes.data());
  read_dataset(group.get(), path, "rectangles", H5T_NATIVE_INT64, rectangle_extent,
               tables.rectangles.data());
  if (!is_shared)
    read_dataset(group.get(), path, "rank_file_bytes", H5T_NATIVE_UINT64, rank_extent,
                 index.rank_file_bytes.data());
  const std::uint64_t sizes_checksum = hash_bytes(std::as_bytes(std::span(index.rank_file_bytes)));
  require(read_u64_attribute(group.get(), path, "checksum") == tables.checksum() &&
              (is_shared ||
               read_u64_attribute(group.get(), path, "rank_file_bytes_checksum") == sizes_checksum),
          ExitStatus::bad_data, "{}: the index does not fit its checksum: the file is damaged",
          path.string());

  for (std::size_t i = 0; i < num_tensors; ++i) {
    std::string name = tables.names.substr(i * tables.name_width, tables.name_width);
    name.resize(std::strlen(name.c_str()));
    const std::int64_t* shape = &tables.shapes[i * kShapeColumns];
    index.tensors.push_back({std::move(name), shape[0], shape[1], shape[2] != 0});
  }
  std::vector<std::int64_t> next_ordinal(static_cast<std::size_t>(num_ranks), 0);
  for (std::size_t i = 0; i < num_entries; ++i) {
    const std::int64_t* r = &tables.rectangles[i * kRectangleColumns];
    require(
        r[0] >= 0 && r[0] < static_cast<std::int64_t>(num_tensors) && r[1] >= 0 && r[1] < num_ranks,
        ExitStatus::bad_data, "{}: row {} of the index is out of range", path.string(), i);
    const auto rank = static_cast<std::size_t>(r[1]);
    index.entries.push_back(
        {r[0], static_cast<int>(r[1]), next_ordinal[rank]++, {r[2], r[3], r[4], r[5]}});
  }
  return index;
}

/// One tensor as a global dataset that is put together from the rank files.
void write_virtual_dataset(hid_t group, const fs::path& path,
                           const CheckpointReader::TensorShape& tensor,
                           std::span<const IndexEntry* const> entries, const char* field) {
  const int num_dimensions = tensor.is_vector ? 1 : 2;
  const hsize_t extent[] = {static_cast<hsize_t>(tensor.rows), static_cast<hsize_t>(tensor.cols)};
  Hdf5Space space(ESPALIER_HDF5(io_error, path, H5Screate_simple(num_dimensions, extent, nullptr)));
  Hdf5PropertyList creation(ESPALIER_HDF5(io_error, path, H5Pcreate(H5P_DATASET_CREATE)));
  const std::string source_name = std::string("/") + field + "/" + tensor.name;
  for (const IndexEntry* entry : entries) {
    const parallel::Rectangle& r = entry->rectangle;
    const hsize_t start[] = {static_cast<hsize_t>(r.row_begin), static_cast<hsize_t>(r.col_begin)};
    const hsize_t count[] = {static_cast<hsize_t>(r.rows()), static_cast<hsize_t>(r.cols())};
    ESPALIER_HDF5(io_error, path,
                  H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start, nullptr, count, nullptr));
    Hdf5Space source(
        ESPALIER_HDF5(io_error, path, H5Screate_simple(num_dimensions, count, nullptr)));
    // A name without folder: HDF5 looks beside master.h5, so the checkpoint may be moved.
    ESPALIER_HDF5(io_error, path,
                  H5Pset_virtual(creation.get(), space.get(), rank_file_name(entry->rank).c_str(),
                                 source_name.c_str(), source.get()));
  }
  ESPALIER_HDF5(io_error, path, H5Sselect_all(space.get()));
  const Hdf5Dataset dataset(
      ESPALIER_HDF5(io_error, path,
                    H5Dcreate2(group, tensor.name.c_str(), H5T_IEEE_F32LE, space.get(), H5P_DEFAULT,
                               creation.get(), H5P_DEFAULT)));
}

}  // namespace

void write_contents(hid_t file, const fs::path& path, const CheckpointInfo& info,
                    const CheckpointIndex& index) {
  write_info(file, path, info);
  write_index(file, path, index);
}

void write_master_file(Hdf5Image& image, const fs::path& path, const CheckpointInfo& info,
                       const CheckpointIndex& index) {
  std::vector<std::vector<const IndexEntry*>> entries(index.tensors.size());
  for (const IndexEntry& entry : index.entries) {
    entries[static_cast<std::size_t>(entry.tensor)].push_back(&entry);
  }
  const auto lock = hdf5_lock();
  Hdf5File file = create_checkpoint_file(image, path);
  write_contents(file.get(), path, info, index);
  for (const char* field :
       std::span(kFieldNames).first(static_cast<std::size_t>(num_fields(info)))) {
    const Hdf5Group group = create_group(file.get(), path, field);
    for (std::size_t i = 0; i < index.tensors.size(); ++i) {
      write_virtual_dataset(group.get(), path, index.tensors[i], entries[i], field);
    }
  }
  hdf5_close(std::move(file), path);
}

void finish_master_file(Hdf5Image& image, const fs::path& path,
                        std::span<const std::uint64_t> rank_file_bytes) {
  const auto lock = hdf5_lock();
  Hdf5File file = open_checkpoint_file(image, path);
  {
    const Hdf5Group group(
        ESPALIER_HDF5(io_error, path, H5Gopen2(file.get(), "index", H5P_DEFAULT)));
    const hsize_t extent[] = {rank_file_bytes.size()};
    write_dataset(group.get(), path, "rank_file_bytes", H5T_NATIVE_UINT64, extent,
                  rank_file_bytes.data());
    write_attribute(group.get(), path, "rank_file_bytes_checksum",
                    hash_bytes(std::as_bytes(rank_file_bytes)));
  }
  hdf5_close(std::move(file), path);
}

void read_master_file(const fs::path& path, CheckpointInfo& info, CheckpointIndex& index) {
  const auto lock = hdf5_lock();
  try {
    const Hdf5File file = open_checkpoint_file(path);
    require_format(file.get(), path, kMasterFormat);
    info = read_info(file.get(), path);
    index = read_index(file.get(), path, info.num_ranks, info.is_shared);
  } catch (const Error& error) {
    if (error.status() != ExitStatus::bad_data) throw;  // it could not be read, whatever it holds
    // However it is damaged, there may be one before it.
    const std::string_view what = error.what();
    const char* stop = what.ends_with('.') ? "" : ".";
    throw Error(
        error.status(),
        fmt::format("{}{} If the file is damaged, remove or rename this checkpoint: the same "
                    "command goes on from the one before.",
                    what, stop),
        error.met());
  }
}

}  // namespace espalier::io
