#include "io/byte_source.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "base/error.hpp"

namespace espalier::io {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{1} << 18;

/// The bytes of the file as they lie on the disk.
class PlainSource final : public ByteSource {
 public:
  explicit PlainSource(const std::filesystem::path& path) : path_(path) {
    file_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file_ < 0)
      fail(ExitStatus::bad_data, "{}: the text cannot be opened: {}. Correct tokenize.input",
           path.string(), std::strerror(errno));
    struct stat status {};
    if (::fstat(file_, &status) == 0) size_ = static_cast<std::uint64_t>(status.st_size);
    ::posix_fadvise(file_, 0, 0, POSIX_FADV_SEQUENTIAL);
  }
  ~PlainSource() override {
    if (file_ >= 0) ::close(file_);
  }
  PlainSource(const PlainSource&) = delete;
  PlainSource& operator=(const PlainSource&) = delete;

  std::size_t read(std::span<char> out) override {
    ssize_t count = 0;
    do {
      count = ::read(file_, out.data(), out.size());
    } while (count < 0 && errno == EINTR);
    if (count < 0)
      fail(ExitStatus::io_error, "{}: cannot be read at byte {}: {}", path_.string(), position_,
           std::strerror(errno));
    position_ += static_cast<std::uint64_t>(count);
    return static_cast<std::size_t>(count);
  }
  std::uint64_t position() const override { return position_; }
  std::uint64_t size() const override { return size_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  int file_ = -1;
  std::uint64_t position_ = 0;
  std::uint64_t size_ = 0;
};

/// What unpackers share: the packed bytes at hand.
class PackedSource : public ByteSource {
 public:
  explicit PackedSource(const std::filesystem::path& path) : file_(path), chunk_(kChunkBytes) {}
  std::uint64_t position() const override { return file_.position() - input_.size(); }
  std::uint64_t size() const override { return file_.size(); }

 protected:
  /// Makes packed bytes available; false at the end of the file.
  bool refill() {
    if (input_.empty()) input_ = std::span(chunk_).first(file_.read(chunk_));
    return !input_.empty();
  }
  [[noreturn]] void damaged(const char* kind, const char* reason) const {
    fail(ExitStatus::bad_data, "{}: damaged {} data near byte {}: {}. Fetch or pack the file again",
         file_.path().string(), kind, position(), reason);
  }
  [[noreturn]] void cut_off(const char* kind) const {
    fail(ExitStatus::bad_data,
         "{}: the {} data ends too early: the file is cut off. Fetch or pack "
         "it again",
         file_.path().string(), kind);
  }
  std::span<char> input_;

 private:
  PlainSource file_;
  std::vector<char> chunk_;
};

class GzipSource final : public PackedSource {
 public:
  explicit GzipSource(const std::filesystem::path& path) : PackedSource(path) {
    // 15: the largest window; +16: a gzip header, and nothing else, is expected.
    if (inflateInit2(&stream_, 15 + 16) != Z_OK)
      fail(ExitStatus::internal, "inflateInit2 failed: {}", stream_.msg ? stream_.msg : "");
  }
  ~GzipSource() override { inflateEnd(&stream_); }

  std::size_t read(std::span<char> out) override {
    std::size_t filled = 0;
    while (filled == 0) {
      if (!refill()) {
        if (inside_member_ || num_members_ == 0) cut_off("gzip");
        return 0;
      }
      if (!inside_member_ && num_members_ > 0 && skip_padding()) continue;
      filled = inflate_some(out);
    }
    return filled;
  }

 private:
  /// gzip files on tapes and some block devices are filled up with zeros, which gzip ignores.
  bool skip_padding() {
    if (input_.front() != '\0') return false;
    input_ = input_.subspan(1);
    return true;
  }

  std::size_t inflate_some(std::span<char> out) {
    if (!inside_member_) inflateReset(&stream_);
    inside_member_ = true;
    stream_.next_in = reinterpret_cast<Bytef*>(input_.data());
    stream_.avail_in = static_cast<uInt>(input_.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    const int status = inflate(&stream_, Z_NO_FLUSH);
    input_ = input_.last(stream_.avail_in);
    if (status == Z_STREAM_END) {
      inside_member_ = false;
      ++num_members_;
    } else if (status != Z_OK && status != Z_BUF_ERROR) {
      damaged("gzip", stream_.msg != nullptr ? stream_.msg : zError(status));
    }
    return out.size() - stream_.avail_out;
  }

  z_stream stream_{};
  bool inside_member_ = false;
  std::uint64_t num_members_ = 0;
};

class ZstdSource final : public PackedSource {
 public:
  explicit ZstdSource(const std::filesystem::path& path)
      : PackedSource(path), stream_(ZSTD_createDStream()) {
    if (stream_ == nullptr) fail(ExitStatus::internal, "ZSTD_createDStream failed");
  }
  ~ZstdSource() override { ZSTD_freeDStream(stream_); }
  ZstdSource(const ZstdSource&) = delete;
  ZstdSource& operator=(const ZstdSource&) = delete;

  std::size_t read(std::span<char> out) override {
    ZSTD_outBuffer output{out.data(), out.size(), 0};
    while (output.pos == 0) {
      // Output may still wait inside the stream when the input is used up.
      const bool at_end = !refill();
      if (at_end && frame_done_) return 0;
      ZSTD_inBuffer packed{input_.data(), input_.size(), 0};
      const std::size_t status = ZSTD_decompressStream(stream_, &output, &packed);
      if (ZSTD_isError(status)) damaged("zstd", ZSTD_getErrorName(status));
      input_ = input_.subspan(packed.pos);
      frame_done_ = status == 0;
      if (at_end && output.pos == 0 && !frame_done_) cut_off("zstd");
    }
    return output.pos;
  }

 private:
  ZSTD_DStream* stream_;
  bool frame_done_ = false;  // an empty file is not a frame
};

bool is_gzip(const std::filesystem::path& extension) {
  return extension == ".gz" || extension == ".dz";  // dictzip adds an index to the gzip header
}

}  // namespace

std::unique_ptr<ByteSource> ByteSource::open(const std::filesystem::path& path) {
  std::error_code ignored;
  require(!std::filesystem::is_directory(path, ignored), ExitStatus::bad_data,
          "{}: is a folder, not a text file", path.string());
  if (is_gzip(path.extension())) return std::make_unique<GzipSource>(path);
  if (path.extension() == ".zst") return std::make_unique<ZstdSource>(path);
  return std::make_unique<PlainSource>(path);
}

std::filesystem::path unpacked_name(const std::filesystem::path& name) {
  const auto extension = name.extension();
  return is_gzip(extension) || extension == ".zst" ? name.parent_path() / name.stem() : name;
}

}  // namespace espalier::io
