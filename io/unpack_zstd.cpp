#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <array>

#include "base/error.hpp"
#include "io/mapped_file.hpp"
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

  std::size_t unpack(std::span<char> out) override {
    ZSTD_outBuffer output{out.data(), out.size(), 0};
    while (output.pos == 0) {
      // Output may still wait inside the stream when the input is used up.
      const bool at_end = !refill();
      if (at_end && frame_done_) return 0;
      ZSTD_inBuffer packed{input_.data(), input_.size(), 0};
      const std::size_t status = ZSTD_decompressStream(stream_, &output, &packed);
      if (ZSTD_isError(status)) damaged(reason_of(status), output.pos);
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

constexpr std::array<std::byte, 4> kFrameMagic{std::byte{0x28}, std::byte{0xB5}, std::byte{0x2F},
                                               std::byte{0xFD}};

}  // namespace

std::vector<std::uint64_t> zstd_frame_begins(const std::filesystem::path& path) {
  const MappedFile file(path);
  std::vector<std::uint64_t> begins;
  std::span<const std::byte> rest = file.bytes();
  while (!rest.empty()) {
    const std::size_t size = ZSTD_findFrameCompressedSize(rest.data(), rest.size());
    if (ZSTD_isError(size)) return {};
    if (std::equal(kFrameMagic.begin(), kFrameMagic.end(), rest.begin()))
      begins.push_back(file.bytes().size() - rest.size());
    rest = rest.subspan(size);
  }
  if (!begins.empty()) begins.front() = 0;
  return begins;
}

std::unique_ptr<ByteSource> unpack_zstd(std::unique_ptr<InputFile> file) {
  return std::make_unique<ZstdSource>(std::move(file));
}

}  // namespace espalier::io
