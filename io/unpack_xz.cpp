#include <lzma.h>

#include <limits>
#include <string_view>

#include "base/error.hpp"
#include "io/packed_source.hpp"

namespace espalier::io {
namespace {

/// What every stream begins with.
constexpr std::string_view kMagic(
    "\xFD"
    "7zXZ\0",
    6);

const char* reason_of(lzma_ret status) {
  switch (status) {
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
  explicit XzSource(std::unique_ptr<InputFile> file) : PackedSource(std::move(file), "xz") {}
  ~XzSource() override { lzma_end(&stream_); }
  XzSource(const XzSource&) = delete;
  XzSource& operator=(const XzSource&) = delete;

  std::size_t unpack(std::span<char> out) override {
    std::size_t filled = 0;
    while (filled == 0) {
      const bool at_end = !refill();
      if (!inside_stream_) {
        if (!at_end && num_streams_ > 0 && skip_padding()) continue;
        // The format's own rule (section 2.2).
        if (num_padding_bytes_ % 4 != 0) damaged("the zeros behind its data are not four by four");
        if (at_end && num_streams_ == 0) cut_off();
        if (at_end) return 0;
        begin_stream();
      }
      filled = unpack_some(out, at_end);
    }
    return filled;
  }

 private:
  bool skip_padding() {
    if (input_.front() != '\0') return false;
    input_ = input_.subspan(1);
    ++num_padding_bytes_;
    return true;
  }

  void begin_stream() {
    const lzma_ret status =
        lzma_stream_decoder(&stream_, std::numeric_limits<std::uint64_t>::max(), 0);
    if (status != LZMA_OK)
      fail(ExitStatus::internal, "lzma_stream_decoder failed with status {}",
           static_cast<int>(status));
    inside_stream_ = true;
    num_magic_bytes_ = 0;
    num_padding_bytes_ = 0;
  }

  /// liblzma waits for a whole header before it judges: the first bytes are looked at here, so that
  /// a few bytes that are no header are not taken for the beginning of one.
  std::span<char> next_input(bool at_end) {
    if (at_end || num_magic_bytes_ == kMagic.size()) return input_;
    if (input_.front() != kMagic[num_magic_bytes_])
      damaged(num_streams_ == 0 ? "there is no xz header" : "what follows its data is no xz");
    ++num_magic_bytes_;
    return input_.first(1);
  }

  std::size_t unpack_some(std::span<char> out, bool at_end) {
    const std::span<char> input = next_input(at_end);
    stream_.next_in = reinterpret_cast<const std::uint8_t*>(input.data());
    stream_.avail_in = input.size();
    stream_.next_out = reinterpret_cast<std::uint8_t*>(out.data());
    stream_.avail_out = out.size();
    const lzma_ret status = lzma_code(&stream_, at_end ? LZMA_FINISH : LZMA_RUN);
    input_ = input_.subspan(input.size() - stream_.avail_in);
    const std::size_t filled = out.size() - stream_.avail_out;
    if (status == LZMA_STREAM_END) {
      inside_stream_ = false;
      ++num_streams_;
    } else if (status == LZMA_BUF_ERROR && at_end) {
      cut_off(filled);
    } else if (status != LZMA_OK && status != LZMA_BUF_ERROR) {
      damaged(reason_of(status), filled);
    }
    return filled;
  }

  lzma_stream stream_ = LZMA_STREAM_INIT;
  bool inside_stream_ = false;
  std::uint64_t num_streams_ = 0;
  std::size_t num_magic_bytes_ = 0;      ///< of this stream, given to the decoder
  std::uint64_t num_padding_bytes_ = 0;  ///< behind the last stream
};

}  // namespace

std::unique_ptr<ByteSource> unpack_xz(std::unique_ptr<InputFile> file) {
  return std::make_unique<XzSource>(std::move(file));
}

}  // namespace espalier::io
