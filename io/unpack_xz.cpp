#include <lzma.h>

#include <limits>

#include "base/error.hpp"
#include "io/packed_source.hpp"

namespace espalier::io {
namespace {

const char* reason_of(lzma_ret status) {
  switch (status) {
    case LZMA_FORMAT_ERROR:
      return "there is no xz header";
    case LZMA_OPTIONS_ERROR:
      return "it uses options that this liblzma does not know";
    case LZMA_MEM_ERROR:
      return "there is no memory to unpack it";
    default:
      return "the data or its checksum is wrong";
  }
}

class XzSource final : public PackedSource {
 public:
  explicit XzSource(std::unique_ptr<InputFile> file) : PackedSource(std::move(file), "xz") {
    const lzma_ret status =
        lzma_stream_decoder(&stream_, std::numeric_limits<std::uint64_t>::max(), LZMA_CONCATENATED);
    if (status != LZMA_OK)
      fail(ExitStatus::internal, "lzma_stream_decoder failed with status {}",
           static_cast<int>(status));
  }
  ~XzSource() override { lzma_end(&stream_); }
  XzSource(const XzSource&) = delete;
  XzSource& operator=(const XzSource&) = delete;

  std::size_t unpack(std::span<char> out) override {
    if (done_) return 0;
    std::size_t filled = 0;
    while (filled == 0 && !done_) {
      const bool at_end = !refill();
      stream_.next_in = reinterpret_cast<const std::uint8_t*>(input_.data());
      stream_.avail_in = input_.size();
      stream_.next_out = reinterpret_cast<std::uint8_t*>(out.data());
      stream_.avail_out = out.size();
      const lzma_ret status = lzma_code(&stream_, at_end ? LZMA_FINISH : LZMA_RUN);
      input_ = input_.last(stream_.avail_in);
      filled = out.size() - stream_.avail_out;
      if (status == LZMA_STREAM_END)
        done_ = true;
      else if (status == LZMA_BUF_ERROR && at_end)
        cut_off(filled);
      else if (status != LZMA_OK && status != LZMA_BUF_ERROR)
        damaged(reason_of(status), filled);
    }
    return filled;
  }

 private:
  lzma_stream stream_ = LZMA_STREAM_INIT;
  bool done_ = false;
};

}  // namespace

std::unique_ptr<ByteSource> unpack_xz(std::unique_ptr<InputFile> file) {
  return std::make_unique<XzSource>(std::move(file));
}

}  // namespace espalier::io
