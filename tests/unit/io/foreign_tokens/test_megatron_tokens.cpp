#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "binary.hpp"
#include "io/megatron_tokens.hpp"
#include "support/scratch_folder.hpp"

using namespace espalier;
using namespace espalier::io;
using Catch::Matchers::Contains;
using espalier::testing::bytes;
using espalier::testing::ScratchFolder;
using espalier::testing::write_file;

namespace {

/// An index as the builder writes it, and what a test makes worse about it.
struct Index {
  std::string magic = std::string("MMIDIDX\0\0", 9);
  std::uint64_t version = 1;
  std::uint8_t code = 8;
  std::vector<std::int32_t> lengths = {2, 1, 3};
  std::vector<std::int64_t> pointers = {0, 4, 6};
  std::vector<std::int64_t> documents = {0, 1, 1, 3};  // the second one is empty
  std::uint64_t num_sequences = 3, num_documents = 4;
  std::string behind;

  std::string text() const {
    return magic + bytes({version}) + bytes({code}) + bytes({num_sequences, num_documents}) +
           bytes(lengths) + bytes(pointers) + bytes(documents) + behind;
  }
};

const std::string kData = bytes<std::uint16_t>({10, 11, 20, 21, 22, 65535});

class Files {
 public:
  MegatronTokens open(const std::string& index, const std::string& data = kData) const {
    write_file(folder_ / "a.idx", index);
    write_file(folder_ / "a.bin", data);
    return MegatronTokens(folder_ / "a.idx", folder_ / "a.bin");
  }
  std::string error(const std::string& index, const std::string& data = kData) const {
    try {
      open(index, data);
    } catch (const Error& error) {
      CHECK(error.status() == ExitStatus::bad_data);
      return error.what();
    }
    FAIL("no error");
    return {};
  }

 private:
  ScratchFolder folder_;
};

std::vector<std::uint32_t> ids_of(const PackedTokens& tokens) {
  std::vector<std::uint32_t> ids;
  CHECK(tokens.append_to(ids, 0xFFFFFFFF) == tokens.size());
  return ids;
}

}  // namespace

TEST_CASE("documents are the sequences that the index gives them", "[megatron_tokens]") {
  const Files files;
  const MegatronTokens tokens = files.open(Index().text());
  CHECK(tokens.type() == TokenType::uint16);
  CHECK(tokens.num_tokens() == 6);
  REQUIRE(tokens.num_documents() == 3);
  CHECK(ids_of(tokens.document(0)) == std::vector<std::uint32_t>{10, 11});
  CHECK(tokens.document(1).empty());
  CHECK(ids_of(tokens.document(2)) == std::vector<std::uint32_t>{20, 21, 22, 65535});
  CHECK(tokens.first_token(2) == 2);
  CHECK(tokens.first_token(3) == 6);
}

TEST_CASE("every integer type of Megatron is read, and floats are refused", "[megatron_tokens]") {
  const Files files;
  const auto index = [](std::uint8_t code, std::int64_t width) {
    Index made;
    made.code = code;
    made.pointers = {0, 2 * width, 3 * width};
    return made.text();
  };
  const std::vector<std::uint32_t> expected = {3, 4, 5, 6};
  const auto check = [&](std::uint8_t code, std::int64_t width, const std::string& data) {
    CHECK(ids_of(files.open(index(code, width), data).document(2)) == expected);
  };
  check(1, 1, bytes<std::uint8_t>({1, 2, 3, 4, 5, 6}));
  check(2, 1, bytes<std::int8_t>({1, 2, 3, 4, 5, 6}));
  check(3, 2, bytes<std::int16_t>({1, 2, 3, 4, 5, 6}));
  check(4, 4, bytes<std::int32_t>({1, 2, 3, 4, 5, 6}));
  check(5, 8, bytes<std::int64_t>({1, 2, 3, 4, 5, 6}));
  check(8, 2, bytes<std::uint16_t>({1, 2, 3, 4, 5, 6}));
  for (const std::uint8_t code : {std::uint8_t{6}, std::uint8_t{7}})
    CHECK_THAT(files.error(index(code, 4)), Contains("a.idx") && Contains("floating-point"));
  for (const std::uint8_t code : {std::uint8_t{0}, std::uint8_t{9}, std::uint8_t{255}})
    CHECK_THAT(files.error(index(code, 4)),
               Contains(fmt::format("type code {} is unknown", code)) && Contains("uint16 (8)"));
}

TEST_CASE("a data set without documents is read", "[megatron_tokens]") {
  Index index;
  index.lengths.clear();
  index.pointers.clear();
  index.documents = {0};
  index.num_sequences = 0;
  index.num_documents = 1;
  CHECK(Files().open(index.text(), "").num_documents() == 0);
  index.documents.clear();
  index.num_documents = 0;
  CHECK_THAT(Files().error(index.text(), ""), Contains("no documents"));
}

TEST_CASE("what is no index of this version is refused by name", "[megatron_tokens]") {
  const Files files;
  Index index;
  index.version = 2;
  CHECK_THAT(files.error(index.text()), Contains("a.idx") && Contains("version 2"));
  index.version = std::uint64_t{1} << 56;
  CHECK_THAT(files.error(index.text()), Contains("big-endian"));
  CHECK_THAT(files.error(std::string("TNTIDX\0\0", 8) + index.text()),
             Contains("older format") && Contains("mmap"));
  CHECK_THAT(files.error("\x89HDF" + index.text()), Contains("not the index"));
}

TEST_CASE("an index that is cut short anywhere is refused", "[megatron_tokens]") {
  const Files files;
  const std::string whole = Index().text();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    INFO(size << " bytes");
    CHECK_THAT(files.error(whole.substr(0, size)), Contains("a.idx") && Contains("cut short"));
  }
  Index index;
  index.num_sequences = 0xFFFFFFFFFFFFFFFF;  // in bytes it would overflow
  CHECK_THAT(files.error(index.text()), Contains("cut short"));
  index.num_sequences = 3;
  index.num_documents = std::uint64_t{1} << 61;
  CHECK_THAT(files.error(index.text()), Contains("cut short"));
}

TEST_CASE("what follows the index is refused", "[megatron_tokens]") {
  const Files files;
  Index index;
  index.behind = "mmm";  // a byte a sequence
  CHECK_THAT(files.error(index.text()), Contains("multimodal"));
  index.behind = "1234567";
  CHECK_THAT(files.error(index.text()), Contains("7 bytes behind"));
}

TEST_CASE("an index that contradicts itself or the data is refused", "[megatron_tokens]") {
  const Files files;
  const auto error = [&](auto&& change, const std::string& data = kData) {
    Index index;
    change(index);
    return files.error(index.text(), data);
  };
  CHECK_THAT(error([](Index& i) { i.lengths[1] = -1; }), Contains("sequence 1 has -1 ids"));
  CHECK_THAT(error([](Index& i) { i.pointers[1] = 2; }), Contains("sequence 1 begins at byte 2"));
  CHECK_THAT(error([](Index& i) { i.lengths[2] = 4; }), Contains("a.bin") && Contains("cut short"));
  CHECK_THAT(error([](Index& i) { i.lengths[2] = 2147483647; }), Contains("cut short"));
  CHECK_THAT(error([](Index& i) { i.documents[1] = 2, i.documents[2] = 1; }),
             Contains("document 2") && Contains("out of order"));
  CHECK_THAT(error([](Index& i) { i.documents[0] = 1; }), Contains("document 0"));
  CHECK_THAT(error([](Index& i) { i.documents[3] = 4; }), Contains("last document"));
  CHECK_THAT(error([](Index& i) { i.documents[3] = 2; }), Contains("last document"));
  const auto none = [](Index&) {};
  CHECK_THAT(error(none, kData.substr(0, 11)), Contains("a.bin") && Contains("cut short"));
  CHECK_THAT(error(none, ""), Contains("a.bin") && Contains("cut short"));
  CHECK_THAT(error(none, kData + "x"), Contains("a.bin") && Contains("another one"));
}
