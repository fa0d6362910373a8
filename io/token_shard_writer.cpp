#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.hpp"
#include "base/text.hpp"
#include "io/hdf5.hpp"
#include "io/mapped_file.hpp"
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

void write_all(int file, const std::filesystem::path& path, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) write_failed(path, "write");
    bytes = bytes.subspan(static_cast<std::size_t>(written));
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

template <class T>
void write_dataset(hid_t file, const std::filesystem::path& path, const char* name, hid_t file_type,
                   hid_t memory_type, std::span<const T> values) {
  const hsize_t count = values.size();
  const Hdf5Space space(ESPALIER_HDF5(io_error, path, H5Screate_simple(1, &count, nullptr)));
  const Hdf5PropertyList creation(ESPALIER_HDF5(io_error, path, H5Pcreate(H5P_DATASET_CREATE)));
  ESPALIER_HDF5(io_error, path, H5Pset_layout(creation.get(), H5D_CONTIGUOUS));
  // Filling with zeros first would write every byte twice.
  ESPALIER_HDF5(io_error, path, H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER));
  // Without the time of writing, equal contents are equal files.
  ESPALIER_HDF5(io_error, path, H5Pset_obj_track_times(creation.get(), false));
  const Hdf5Dataset dataset(ESPALIER_HDF5(
      io_error, path,
      H5Dcreate2(file, name, file_type, space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT)));
  if (values.empty()) return;
  ESPALIER_HDF5(io_error, path,
                H5Dwrite(dataset.get(), memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()));
}

}  // namespace

// An HDF5 array that is one piece of memory must know its length when it is created. The tokens
// therefore go through a plain spool file beside the shard, and memory stays bounded by the buffer.
struct TokenShardWriter::Implementation {
  std::filesystem::path path, partial, spool;
  ShardInfo info;
  int spool_file = -1;
  std::vector<std::uint32_t> buffer;
  std::vector<std::uint64_t> documents;
  bool finished = false;

  void flush() {
    write_all(spool_file, spool, std::as_bytes(std::span(buffer)));
    buffer.clear();
  }
  void write_hdf5(std::span<const std::uint32_t> tokens);
};

void TokenShardWriter::Implementation::write_hdf5(std::span<const std::uint32_t> tokens) {
  const auto lock = hdf5_lock();
  Hdf5Output file(partial);
  write_dataset(file.get(), partial, "tokens", H5T_STD_U32LE, H5T_NATIVE_UINT32, tokens);
  write_dataset(file.get(), partial, "documents", H5T_STD_U64LE, H5T_NATIVE_UINT64,
                std::span<const std::uint64_t>(documents));
  const auto text = [&](const char* name, const std::string& value) {
    write_attribute(file.get(), partial, name, value);
  };
  const auto number = [&](const char* name, std::uint64_t value) {
    write_attribute(file.get(), partial, name, value);
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
  file.close();
}

TokenShardWriter::TokenShardWriter(const std::filesystem::path& path, ShardInfo info)
    : implementation_(std::make_unique<Implementation>()) {
  Implementation& self = *implementation_;
  self.path = path;
  self.partial = path.string() + ".partial";
  self.spool = path.string() + ".tokens.partial";
  self.info = std::move(info);
  self.info.num_bytes = self.info.num_tokens = self.info.num_documents = 0;
  require(!std::filesystem::exists(path), ExitStatus::io_error,
          "{}: the shard exists already. Remove it, or choose another tokenize.output",
          path.string());
  self.spool_file = ::open(self.spool.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (self.spool_file < 0) write_failed(self.spool, "create");
}

TokenShardWriter::~TokenShardWriter() {
  if (implementation_->spool_file >= 0) ::close(implementation_->spool_file);
  std::error_code ignored;
  std::filesystem::remove(implementation_->spool, ignored);
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
    write_all(self.spool_file, self.spool, std::as_bytes(tokens));
  else
    self.buffer.insert(self.buffer.end(), tokens.begin(), tokens.end());
}

std::uint64_t TokenShardWriter::num_tokens() const {
  return implementation_->info.num_tokens;
}

void TokenShardWriter::finish() {
  Implementation& self = *implementation_;
  ESPALIER_ASSERT(!self.finished);
  self.flush();
  if (::close(std::exchange(self.spool_file, -1)) != 0) write_failed(self.spool, "close");
  {
    const MappedFile spool(self.spool);
    const std::span tokens(reinterpret_cast<const std::uint32_t*>(spool.bytes().data()),
                           self.info.num_tokens);
    ESPALIER_ASSERT(spool.bytes().size() == tokens.size_bytes());
    self.info.checksum = fmt::format("{:016x}", hash_bytes(std::as_bytes(tokens)));
    self.write_hdf5(tokens);
  }
  sync_file(self.partial);
  std::error_code error;
  std::filesystem::rename(self.partial, self.path, error);
  require(!error, ExitStatus::io_error, "{}: cannot be renamed to {}: {}", self.partial.string(),
          self.path.filename().string(), error.message());
  self.finished = true;
}

}  // namespace espalier::io
