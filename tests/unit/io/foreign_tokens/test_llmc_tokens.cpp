#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "binary.hpp"
#include "io/llmc_tokens.hpp"
#include "support/scratch_folder.hpp"

using namespace espalier;
using namespace espalier::io;
using Catch::Matchers::Contains;
using espalier::testing::bytes;
using espalier::testing::ScratchFolder;
using espalier::testing::write_file;

namespace {

std::string header(std::int32_t magic, std::int32_t version, std::int32_t count) {
  std::vector<std::int32_t> words(256, 0);
  words[0] = magic;
  words[1] = version;
  words[2] = count;
  return bytes(words);
}

std::vector<std::uint32_t> ids_of(const std::string& text) {
  const ScratchFolder folder;
  write_file(folder / "a.bin", text);
  const LlmcTokens file(folder / "a.bin");
  std::vector<std::uint32_t> ids;
  CHECK(file.tokens().append_to(ids, 0xFFFFFFFF) == file.tokens().size());
  return ids;
}

std::string error_of(const std::string& text) {
  try {
    ids_of(text);
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::bad_data);
    CHECK_THAT(error.what(), Contains("a.bin: "));
    return error.what();
  }
  FAIL("no error");
  return {};
}

const std::string kGpt2 = header(20240520, 1, 3) + bytes<std::uint16_t>({50256, 1, 65535});

}  // namespace

TEST_CASE("files of GPT-2 and of Llama 3 are read", "[llmc_tokens]") {
  CHECK(ids_of(kGpt2) == std::vector<std::uint32_t>{50256, 1, 65535});
  CHECK(ids_of(header(20240801, 7, 2) + bytes<std::uint32_t>({128000, 7})) ==
        std::vector<std::uint32_t>{128000, 7});
  CHECK(ids_of(header(20240520, 1, 0)).empty());
}

TEST_CASE("a file of another number of bytes than its header says is refused", "[llmc_tokens]") {
  for (const std::size_t size :
       {std::size_t{4}, std::size_t{1023}, std::size_t{1024}, kGpt2.size() - 1}) {
    INFO(size << " bytes");
    CHECK_THAT(error_of(kGpt2.substr(0, size)), Contains("cut short"));
  }
  CHECK_THAT(error_of(""), Contains("cut short"));
  CHECK_THAT(error_of("abc"), Contains("cut short"));
  CHECK_THAT(error_of(kGpt2 + "xy"), Contains("not that of what follows"));
  CHECK_THAT(error_of(header(20240520, 1, -1)), Contains("-1 ids"));
}

TEST_CASE("what is no token file of llm.c is refused by name", "[llmc_tokens]") {
  const auto swapped = static_cast<std::int32_t>(__builtin_bswap32(20240520));
  CHECK_THAT(error_of(header(swapped, 1 << 24, 0)), Contains("big-endian"));
  CHECK_THAT(error_of(header(20240520, 2, 0)), Contains("version 2"));
  CHECK_THAT(error_of(header(20240801, 1, 0)), Contains("version 1") && Contains("version 7"));
  CHECK_THAT(error_of(header(20240522, 1, 0)), Contains("multiple-choice"));
  CHECK_THAT(error_of(header(7, 1, 0)), Contains("20240520") && Contains("Megatron") &&
                                            Contains(".idx") && Contains("nanoGPT"));
}
