#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.hpp"
#include "base/text.hpp"
#include "io/hdf5.hpp"
#include "io/token_shard.hpp"

namespace espalier::io {
namespace {

// Small, because a corpus of many sources has many writers at once.
constexpr std::size_t kBufferTokens = std::size_t{1} << 18;

[[noreturn]] void write_failed(const std::filesystem::path& path, const char* action) {
  fail(ExitStatus::io_error,
       "{}: cannot {}: {}. The unfinished shard is removed; make room and "
       "start again, or choose another tokenize.output",
       path.string(), action, std::strerror(errno));
}

void write_all(int file, const std::filesystem::path& path, std::span<const std::byte> bytes,
               std::uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) write_failed(path, "write");
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
}

/// Waits until the file's bytes are on the disk: only then may it take its final name.
void sync_file(const std::filesystem::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) write_failed(path, "open");
  const int status = ::fsync(file);
  const int error = errno;
  ::close(file);
  errno = error;
  if (status != 0) write_failed(path, "flush");
}

/// A contiguous array whose place in the file is decided at once, and which is not filled.
Hdf5Dataset create_dataset(hid_t file, const std::filesystem::path& path, const char* name,
                           hid_t file_type, hsize_t count) {
  const Hdf5Space space(ESPALIER_HDF5(io_error, path, H5Screate_simple(1, &count, nullptr)));
  const Hdf5PropertyList creation(ESPALIER_HDF5(io_error, path, H5Pcreate(H5P_DATASET_CREATE)));
  ESPALIER_HDF5(io_error, path, H5Pset_layout(creation.get(), H5D_CONTIGUOUS));
  // Filling with zeros first would write every byte twice.
  ESPALIER_HDF5(io_error, path, H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER));
  ESPALIER_HDF5(io_error, path, H5Pset_alloc_time(creation.get(), H5D_ALLOC_TIME_EARLY));
  // Without the time of writing, equal contents are equal files.
  ESPALIER_HDF5(io_error, path, H5Pset_obj_track_times(creation.get(), false));
  return Hdf5Dataset(ESPALIER_HDF5(
      io_error, path,
      H5Dcreate2(file, name, file_type, space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT)));
}

template <class T>
void write_dataset(hid_t file, const std::filesystem::path& path, const char* name, hid_t file_type,
                   hid_t memory_type, std::span<const T> values) {
  const Hdf5Dataset dataset = create_dataset(file, path, name, file_type, values.size());
  if (values.empty()) return;
  ESPALIER_HDF5(io_error, path,
                H5Dwrite(dataset.get(), memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()));
}

/// Where the array lies that is created first in a file that was made by one Hdf5Output and opened
/// again by another. HDF5 says it, once, of a file at `path` that is made for the question; it does
/// not depend on the array's size.
std::uint64_t offset_of_tokens(const std::filesystem::path& path) {
  static const std::uint64_t offset = [&] {
    Hdf5Output(path).close();
    const Hdf5Output file(path, Hdf5Output::Start::as_is);
    const Hdf5Dataset tokens =
        create_dataset(file.get(), path, "tokens", H5T_STD_U32LE, kBufferTokens);
    return H5Dget_offset(tokens.get());
  }();
  return offset;
}

}  // namespace

// An HDF5 array that is one piece of memory must know its length when it is created, and a shard
// does not know it before its end. The tokens are therefore written to the place in the file that
// HDF5 gives to the array in the end: once, and with no more of them in memory than the buffer.
struct TokenShardWriter::Implementation {
  std::filesystem::path path, partial;
  ShardInfo info;
  int file = -1;                              // `partial`
  std::uint64_t offset = 0, num_written = 0;  // of the array, and bytes of it
  BytesHash checksum;
  std::vector<std::uint32_t> buffer;
  std::vector<std::uint64_t> documents;
  bool finished = false;

  void start_file();
  void write(std::span<const std::uint32_t> tokens);
  void flush() {
    write(buffer);
    buffer.clear();
  }
  void write_tokens(hid_t hdf5);
  void write_hdf5();
};

void TokenShardWriter::Implementation::start_file() {
  const auto lock = hdf5_lock();
  offset = offset_of_tokens(partial);
  Hdf5Output(partial).close();
}

void TokenShardWriter::Implementation::write(std::span<const std::uint32_t> tokens) {
  const auto bytes = std::as_bytes(tokens);
  if (num_written == 0) start_file();
  write_all(file, partial, bytes, offset + num_written);
  num_written += bytes.size();
  checksum.add(bytes);
}

/// The array of the tokens, which are in the file already unless they all fit into the buffer.
void TokenShardWriter::Implementation::write_tokens(hid_t hdf5) {
  if (num_written == 0)
    return write_dataset(hdf5, partial, "tokens", H5T_STD_U32LE, H5T_NATIVE_UINT32,
                         std::span<const std::uint32_t>(buffer));
  const Hdf5Dataset tokens =
      create_dataset(hdf5, partial, "tokens", H5T_STD_U32LE, info.num_tokens);
  ESPALIER_ASSERT(H5Dget_offset(tokens.get()) == offset, "{} has its tokens elsewhere",
                  partial.string());
}

void TokenShardWriter::Implementation::write_hdf5() {
  const auto lock = hdf5_lock();
  Hdf5Output output(partial,
                    num_written == 0 ? Hdf5Output::Start::empty : Hdf5Output::Start::as_is);
  write_tokens(output.get());
  write_dataset(output.get(), partial, "documents", H5T_STD_U64LE, H5T_NATIVE_UINT64,
                std::span<const std::uint64_t>(documents));
  const auto text = [&](const char* name, const std::string& value) {
    write_attribute(output.get(), partial, name, value);
  };
  const auto number = [&](const char* name, std::uint64_t value) {
    write_attribute(output.get(), partial, name, value);
  };
  text("format", kTokenShardFormat);
  number("format_version", kTokenShardVersion);
  text("tokenizer", info.tokenizer_identity);
  text("tokenizer_file", info.tokenizer_file);
  number("vocabulary", info.vocabulary);
  number("end_of_text", info.end_of_text);
  text("source", info.source);
  text("split", info.split);
  number("num_bytes", info.num_bytes);
  number("num_tokens", info.num_tokens);
  number("num_documents", info.num_documents);
  text("checksum", info.checksum);
  text("documents_checksum",
       fmt::format("{:016x}", hash_bytes(std::as_bytes(std::span(documents)))));
  output.close();
}

TokenShardWriter::TokenShardWriter(const std::filesystem::path& path, ShardInfo info)
    : implementation_(std::make_unique<Implementation>()) {
  Implementation& self = *implementation_;
  self.path = path;
  self.partial = path.string() + ".partial";
  self.info = std::move(info);
  self.info.num_bytes = self.info.num_tokens = self.info.num_documents = 0;
  require(!std::filesystem::exists(path), ExitStatus::io_error,
          "{}: the shard exists already. Remove it, or choose another tokenize.output",
          path.string());
  self.file = ::open(self.partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (self.file < 0) write_failed(self.partial, "create");
}

TokenShardWriter::~TokenShardWriter() {
  if (implementation_->file >= 0) ::close(implementation_->file);
  std::error_code ignored;
  if (!implementation_->finished) std::filesystem::remove(implementation_->partial, ignored);
}

void TokenShardWriter::append(std::span<const std::uint32_t> tokens, std::uint64_t num_bytes) {
  Implementation& self = *implementation_;
  ESPALIER_ASSERT(!self.finished && !tokens.empty());
  self.documents.push_back(self.info.num_tokens);
  self.info.num_tokens += tokens.size();
  self.info.num_bytes += num_bytes;
  ++self.info.num_documents;
  if (self.buffer.size() + tokens.size() > kBufferTokens) self.flush();
  if (tokens.size() > kBufferTokens)
    self.write(tokens);
  else
    self.buffer.insert(self.buffer.end(), tokens.begin(), tokens.end());
}

std::uint64_t TokenShardWriter::num_tokens() const {
  return implementation_->info.num_tokens;
}

void TokenShardWriter::finish() {
  Implementation& self = *implementation_;
  ESPALIER_ASSERT(!self.finished);
  if (self.num_written > 0)
    self.flush();
  else
    self.checksum.add(std::as_bytes(std::span(self.buffer)));
  if (::close(std::exchange(self.file, -1)) != 0) write_failed(self.partial, "close");
  self.info.checksum = fmt::format("{:016x}", self.checksum.value());
  self.write_hdf5();
  sync_file(self.partial);
  std::error_code error;
  std::filesystem::rename(self.partial, self.path, error);
  require(!error, ExitStatus::io_error, "{}: cannot be renamed to {}: {}", self.partial.string(),
          self.path.filename().string(), error.message());
  self.finished = true;
}

}  // namespace espalier::io
