#include <zstd.h>
#include <zstd_errors.h>

#include "base/error.hpp"
#include "io/packed_source.hpp"

namespace espalier::io {
namespace {

const char* reason_of(std::size_t status) {
  switch (ZSTD_getErrorCode(status)) {
    case ZSTD_error_frameParameter_windowTooLarge:
      return "its window is larger than 2 GiB (--long=31)";
    case ZSTD_error_memory_allocation:
      return "there is no memory for its window";
    default:
      return ZSTD_getErrorName(status);
  }
}

class ZstdSource final : public PackedSource {
 public:
  explicit ZstdSource(std::unique_ptr<InputFile> file)
      : PackedSource(std::move(file), "zstd"), stream_(ZSTD_createDStream()) {
    if (stream_ == nullptr) fail(ExitStatus::internal, "ZSTD_createDStream failed");
    // Public corpora are packed with --long=31; the library's own limit is 128 MiB. Memory of the
    // window is used only as far as the text is long.
    const std::size_t status =
        ZSTD_DCtx_setParameter(stream_, ZSTD_d_windowLogMax, sizeof(std::size_t) == 4 ? 30 : 31);
    if (ZSTD_isError(status))
      fail(ExitStatus::internal, "ZSTD_DCtx_setParameter failed: {}", ZSTD_getErrorName(status));
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
      if (ZSTD_isError(status)) damaged(reason_of(status));
      input_ = input_.subspan(packed.pos);
      frame_done_ = status == 0;
      if (at_end && output.pos == 0 && !frame_done_) cut_off();
    }
    return output.pos;
  }

 private:
  ZSTD_DStream* stream_;
  bool frame_done_ = false;  // an empty file is not a frame
};

}  // namespace

std::unique_ptr<ByteSource> unpack_zstd(std::unique_ptr<InputFile> file) {
  return std::make_unique<ZstdSource>(std::move(file));
}

}  // namespace espalier::io
