#include <bzlib.h>

#include "base/error.hpp"
#include "io/packed_source.hpp"

namespace espalier::io {
namespace {

const char* reason_of(int status) {
  switch (status) {
    case BZ_DATA_ERROR_MAGIC:
      return "there is no bzip2 header";
    case BZ_MEM_ERROR:
      return "there is no memory to unpack it";
    default:
      return "the data or its checksum is wrong";
  }
}

class Bzip2Source final : public PackedSource {
 public:
  explicit Bzip2Source(std::unique_ptr<InputFile> file) : PackedSource(std::move(file), "bzip2") {}
  ~Bzip2Source() override { end_stream(); }
  Bzip2Source(const Bzip2Source&) = delete;
  Bzip2Source& operator=(const Bzip2Source&) = delete;

  std::size_t unpack(std::span<char> out) override {
    std::size_t filled = 0;
    while (filled == 0) {
      // Output may still wait inside the stream when the input is used up.
      const bool at_end = !refill();
      if (at_end && !inside_stream_) {
        if (num_streams_ == 0) cut_off();
        return 0;
      }
      if (!inside_stream_) begin_stream();
      filled = unpack_some(out);
      if (at_end && filled == 0 && inside_stream_) cut_off();
    }
    return filled;
  }

 private:
  void begin_stream() {
    stream_ = {};
    if (const int status = BZ2_bzDecompressInit(&stream_, 0, 0); status != BZ_OK)
      fail(ExitStatus::internal, "BZ2_bzDecompressInit failed with status {}", status);
    inside_stream_ = true;
  }
  void end_stream() {
    if (inside_stream_) BZ2_bzDecompressEnd(&stream_);
    inside_stream_ = false;
  }

  std::size_t unpack_some(std::span<char> out) {
    stream_.next_in = input_.data();
    stream_.avail_in = static_cast<unsigned>(input_.size());
    stream_.next_out = out.data();
    stream_.avail_out = static_cast<unsigned>(out.size());
    const int status = BZ2_bzDecompress(&stream_);
    input_ = input_.last(stream_.avail_in);
    const std::size_t filled = out.size() - stream_.avail_out;
    if (status == BZ_STREAM_END) {
      end_stream();
      ++num_streams_;
    } else if (status != BZ_OK) {
      damaged(reason_of(status), filled);
    }
    return filled;
  }

  bz_stream stream_{};
  bool inside_stream_ = false;
  std::uint64_t num_streams_ = 0;
};

}  // namespace

std::unique_ptr<ByteSource> unpack_bzip2(std::unique_ptr<InputFile> file) {
  return std::make_unique<Bzip2Source>(std::move(file));
}

}  // namespace espalier::io
