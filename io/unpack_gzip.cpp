#include <zlib.h>

#include "base/error.hpp"
#include "io/packed_source.hpp"

namespace espalier::io {
namespace {

class GzipSource final : public PackedSource {
 public:
  explicit GzipSource(std::unique_ptr<InputFile> file) : PackedSource(std::move(file), "gzip") {
    // 15: the largest window; +16: a gzip header, and nothing else, is expected.
    if (inflateInit2(&stream_, 15 + 16) != Z_OK)
      fail(ExitStatus::internal, "inflateInit2 failed: {}", stream_.msg ? stream_.msg : "");
  }
  ~GzipSource() override { inflateEnd(&stream_); }
  GzipSource(const GzipSource&) = delete;
  GzipSource& operator=(const GzipSource&) = delete;

  std::size_t unpack(std::span<char> out) override {
    std::size_t filled = 0;
    while (filled == 0) {
      if (!refill()) {
        if (inside_member_ || num_members_ == 0) cut_off();
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
      damaged(stream_.msg != nullptr ? stream_.msg : zError(status),
              out.size() - stream_.avail_out);
    }
    return out.size() - stream_.avail_out;
  }

  z_stream stream_{};
  bool inside_member_ = false;
  std::uint64_t num_members_ = 0;
};

}  // namespace

std::unique_ptr<ByteSource> unpack_gzip(std::unique_ptr<InputFile> file) {
  return std::make_unique<GzipSource>(std::move(file));
}

}  // namespace espalier::io
