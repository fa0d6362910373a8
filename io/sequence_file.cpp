#include "io/sequence_file.hpp"
#include "io/input_file.hpp"

#include <fcntl.h>

#include <array>
#include <limits>
#include <optional>

#include "io/checkpoint_files.hpp"
#include "io/hdf5.hpp"
#include "io/output_file.hpp"

namespace espalier::io {

namespace fs = std::filesystem;

namespace {

constexpr const char* kLogitsKey = "evaluation.logits (--logits)";

}  // namespace

void require_new_logits(const fs::path& path) {
  require_new_output(path, kLogitsKey);
}

SequenceFile read_sequences(const fs::path& path, std::int64_t vocab_size) {
  require(!is_stream(path), ExitStatus::bad_data,
          "{}: is a stream, and HDF5 needs a file: write it to one first", path.string());
  require(fs::is_regular_file(path), ExitStatus::bad_data, "{}: there is no such file",
          path.string());
  const auto lock = hdf5_lock();
  const Hdf5File file = hdf5_open_to_read(path);
  const Hdf5Dataset dataset(
      ESPALIER_HDF5(bad_data, path, H5Dopen2(file.get(), "tokens", H5P_DEFAULT)));
  const Hdf5Space space(ESPALIER_HDF5(bad_data, path, H5Dget_space(dataset.get())));
  const Hdf5Type type(ESPALIER_HDF5(bad_data, path, H5Dget_type(dataset.get())));
  require(H5Tget_class(type.get()) == H5T_INTEGER && H5Sget_simple_extent_ndims(space.get()) == 2,
          ExitStatus::bad_data, "{}: tokens must be integers of shape (sequences, S+1)",
          path.string());
  std::array<hsize_t, 2> dims{};
  H5Sget_simple_extent_dims(space.get(), dims.data(), nullptr);
  require(dims[0] >= 1 && dims[1] >= 2 && dims[0] <= (std::uint64_t{1} << 40) / dims[1],
          ExitStatus::bad_data,
          "{}: tokens has shape ({}, {}); it needs at least one sequence of two tokens",
          path.string(), dims[0], dims[1]);

  std::vector<std::int64_t> ids(dims[0] * dims[1]);
  ESPALIER_HDF5(
      bad_data, path,
      H5Dread(dataset.get(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, ids.data()));
  SequenceFile sequences{.num_sequences = static_cast<std::int64_t>(dims[0]),
                         .sequence_length = static_cast<std::int64_t>(dims[1]) - 1,
                         .tokens = {}};
  sequences.tokens.reserve(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    require(ids[i] >= 0 && ids[i] < vocab_size, ExitStatus::bad_data,
            "{}: tokens[{}, {}] = {}, but model.vocab_size is {}", path.string(), i / dims[1],
            i % dims[1], ids[i], vocab_size);
    sequences.tokens.push_back(static_cast<std::uint32_t>(ids[i]));
  }
  return sequences;
}

struct LogitsFile::Implementation {
  fs::path path, temporary;
  std::optional<Hdf5Output> file;
  Hdf5Dataset dataset;
  bool is_unfinished = false;  ///< the temporary file is ours

  ~Implementation();  ///< removes an unfinished file, also after a constructor that failed
};

LogitsFile::LogitsFile(fs::path path, std::int64_t num_sequences, std::int64_t sequence_length,
                       std::int64_t vocab_size)
    : implementation_(std::make_unique<Implementation>()) {
  Implementation& m = *implementation_;
  m.path = std::move(path);
  m.temporary = m.path.string() + ".partial";
  require_new_logits(m.path);
  std::error_code ignored;
  require(!fs::exists(fs::symlink_status(m.temporary, ignored)), ExitStatus::bad_configuration,
          "{}: is needed while the logits are written, and is there already: another evaluation "
          "writes it, or one that was killed has left it. Remove it, or choose another {}",
          m.temporary.string(), kLogitsKey);
  FileDescriptor(m.temporary, O_WRONLY | O_CREAT | O_EXCL);  // of two at once, one makes it
  m.is_unfinished = true;
  const std::array<hsize_t, 3> dims{static_cast<hsize_t>(num_sequences),
                                    static_cast<hsize_t>(sequence_length),
                                    static_cast<hsize_t>(vocab_size)};
  const auto lock = hdf5_lock();
  m.file.emplace(m.temporary);
  const Hdf5Space space(
      ESPALIER_HDF5(io_error, m.temporary, H5Screate_simple(3, dims.data(), nullptr)));
  m.dataset =
      Hdf5Dataset(ESPALIER_HDF5(io_error, m.temporary,
                                H5Dcreate2(m.file->get(), "logits", H5T_IEEE_F32LE, space.get(),
                                           H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)));
}

LogitsFile::Implementation::~Implementation() {
  if (!is_unfinished) return;
  const auto lock = hdf5_lock();
  dataset = {};
  file.reset();
  std::error_code ignored;
  fs::remove(temporary, ignored);
}
LogitsFile::~LogitsFile() = default;

void LogitsFile::write(std::int64_t sequence, Part positions, Part ids, const float* logits,
                       std::int64_t stride) {
  const Implementation& m = *implementation_;
  const auto lock = hdf5_lock();
  const std::array<hsize_t, 3> start{static_cast<hsize_t>(sequence),
                                     static_cast<hsize_t>(positions.first),
                                     static_cast<hsize_t>(ids.first)};
  const std::array<hsize_t, 3> count{1, static_cast<hsize_t>(positions.count),
                                     static_cast<hsize_t>(ids.count)};
  const Hdf5Space in_file(ESPALIER_HDF5(io_error, m.temporary, H5Dget_space(m.dataset.get())));
  ESPALIER_HDF5(io_error, m.temporary,
                H5Sselect_hyperslab(in_file.get(), H5S_SELECT_SET, start.data(), nullptr,
                                    count.data(), nullptr));
  const std::array<hsize_t, 2> rows{count[1], static_cast<hsize_t>(stride)};
  const Hdf5Space in_memory(
      ESPALIER_HDF5(io_error, m.temporary, H5Screate_simple(2, rows.data(), nullptr)));
  const std::array<hsize_t, 2> origin{0, 0};
  ESPALIER_HDF5(io_error, m.temporary,
                H5Sselect_hyperslab(in_memory.get(), H5S_SELECT_SET, origin.data(), nullptr,
                                    count.data() + 1, nullptr));
  ESPALIER_HDF5(io_error, m.temporary,
                H5Dwrite(m.dataset.get(), H5T_NATIVE_FLOAT, in_memory.get(), in_file.get(),
                         H5P_DEFAULT, logits));
}

void LogitsFile::finish() {
  Implementation& m = *implementation_;
  const auto lock = hdf5_lock();
  m.dataset = {};
  m.file->close();
  m.file.reset();
  m.is_unfinished = false;
  std::error_code error;
  // What came there since the beginning is not overwritten either; the logits are kept beside it.
  require(!fs::exists(fs::symlink_status(m.path, error)), ExitStatus::bad_configuration,
          "{}: has come there meanwhile and is not overwritten. The logits are complete in {}: "
          "rename it",
          m.path.string(), m.temporary.string());
  fs::rename(m.temporary, m.path, error);
  require(!error, ExitStatus::io_error, "{}: cannot be renamed to {}: {}", m.temporary.string(),
          m.path.string(), error.message());
}

}  // namespace espalier::io
