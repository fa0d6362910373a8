// The files are tests/fixtures/parquet/make_fixtures.py's.
#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "io/parquet_source.hpp"
#include "support/scratch_folder.hpp"

using namespace espalier;
using namespace espalier::io;
using Catch::Matchers::Contains;
using espalier::testing::read_file;
using espalier::testing::ScratchFolder;
using espalier::testing::write_file;

namespace {

using Texts = std::vector<std::string>;
constexpr std::size_t kRows = 230, kGroup = 100;

std::filesystem::path fixture(const std::string& name) {
  return std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/fixtures/parquet" /
         (name + ".parquet");
}

std::string text_of(std::size_t i) {
  if (i % 7 == 0 || i % 7 == 3) return {};
  std::string text = "row " + std::to_string(i);
  if (i < 5) text += " äöü";
  if (i % 50 == 1) text += std::string(3000, 'x');
  return text;
}

/// Of rows that have a text, from `first` to `end`.
Texts expected(std::size_t first = 0, std::size_t end = kRows) {
  Texts texts;
  for (std::size_t i = first; i < end; ++i)
    if (!text_of(i).empty()) texts.push_back(text_of(i));
  return texts;
}

Texts read_all(ParquetSource source) {
  Texts texts;
  for (std::string text; source.next(text);) texts.push_back(text);
  std::string again;
  CHECK_FALSE(source.next(again));
  return texts;
}

std::string error_of(const std::filesystem::path& path, const Texts& keys = {"text"}) {
  try {
    read_all(ParquetSource(path, {.text_keys = keys}));
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::bad_data);
    CHECK_THAT(error.what(), Contains(path.filename().string()));
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("every codec, type and encoding of a text column gives the same documents", "[parquet]") {
  for (const char* name :
       {"none", "none-dictionary", "snappy", "snappy-dictionary", "gzip", "gzip-dictionary", "zstd",
        "zstd-dictionary", "brotli", "lz4", "large-string", "binary", "categories", "delta",
        "pages-v2", "required"}) {
    INFO(name);
    CHECK(read_all(ParquetSource(fixture(name), {})) == expected());
  }
}

TEST_CASE("rows without a text are passed over and counted", "[parquet]") {
  ParquetSource source(fixture("zstd"), {});
  std::string text;
  while (source.next(text)) {
  }
  CHECK(source.counts().rows == kRows);
  CHECK(source.counts().null_texts == 33);
  CHECK(source.counts().empty_documents == 66);
  CHECK(kRows - 66 == expected().size());
}

TEST_CASE("row groups are read by themselves", "[parquet]") {
  const auto path = fixture("snappy-dictionary");
  const auto groups = ParquetSource::row_groups(path, {});
  REQUIRE(groups.size() == 3);
  CHECK(groups[0].num_rows == kGroup);
  CHECK(groups[2].num_rows == 30);
  std::uint64_t packed = 0;
  for (const auto& group : groups) {
    CHECK(group.bytes > group.packed_bytes);
    packed += group.packed_bytes;
  }
  CHECK(packed < std::filesystem::file_size(path));

  const auto part = [&](int first, int count) {
    return read_all(ParquetSource(path, {}, first, count));
  };
  CHECK(part(0, 1) == expected(0, 100));
  CHECK(part(1, 1) == expected(100, 200));
  CHECK(part(1, 2) == expected(100));
  CHECK(part(2, 7) == expected(200));
  CHECK(part(0, 0).empty());
  CHECK(part(3, 1).empty());

  ParquetSource source(path, {});
  std::uint64_t position = 0;
  for (std::string text; source.next(text); position = source.packed_position())
    CHECK(source.packed_position() >= position);
  CHECK(source.packed_position() == packed);
}

TEST_CASE("fields of structs are columns, and several texts are joined", "[parquet]") {
  const auto path = fixture("nested");
  CHECK(read_all(ParquetSource(path, {.text_keys = {"meta.text"}})) == expected());
  Texts joined;
  for (std::size_t i = 0; i < kRows; ++i) {
    joined.push_back("title " + std::to_string(i));
    if (!text_of(i).empty()) joined.back() += "\n" + text_of(i);
  }
  CHECK(read_all(ParquetSource(path, {.text_keys = {"title", "meta.text"}, .joint = "\n"})) ==
        joined);
}

TEST_CASE("a file without rows has no documents", "[parquet]") {
  CHECK(read_all(ParquetSource(fixture("empty"), {})).empty());
}

TEST_CASE("a key that names no column of text is refused with the columns there are", "[parquet]") {
  const auto path = fixture("nested");
  const auto check = [&](const char* key, const char* problem) {
    INFO(key);
    const std::string message = error_of(path, {key});
    CHECK_THAT(message, Contains(std::string("\"") + key + "\" " + problem));
    for (const char* column : {"id (INT64)", "meta.text (String)", "title (String)", "in a list"})
      CHECK_THAT(message, Contains(column));
  };
  check("content", "is no column");
  check("meta.title", "is no column");
  check("meta", "has other columns in it");
  check("id", "is no text");
  check("meta.tags.list.element", "is no text");
}

TEST_CASE("what is no Parquet file is refused", "[parquet]") {
  const ScratchFolder folder;
  CHECK_THAT(error_of(folder / "none.parquet"), Contains("no such file"));
  write_file(folder / "text.parquet", "a text, and not a short one");
  CHECK_THAT(error_of(folder / "text.parquet"), Contains("cannot be read as Parquet"));
  write_file(folder / "nothing.parquet", "");
  CHECK_THAT(error_of(folder / "nothing.parquet"), Contains("cannot be read as Parquet"));
}

TEST_CASE("a file that is cut short or damaged is an error or reads well", "[parquet]") {
  const ScratchFolder folder;
  const std::string whole = read_file(fixture("pages-v2"));
  for (std::size_t size = 0; size < whole.size(); size += 97) {
    write_file(folder / "cut.parquet", whole.substr(0, size));
    CHECK_FALSE(error_of(folder / "cut.parquet").empty());
  }
  // Data pages have checksums: damage in one is always found. Elsewhere it need not be.
  std::size_t num_found = 0, num_tried = 0;
  for (std::size_t at = 4; at < whole.size(); at += 13) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(~damaged[at]);
    write_file(folder / "damaged.parquet", damaged);
    ++num_tried;
    num_found += error_of(folder / "damaged.parquet").empty() ? 0 : 1;
  }
  CHECK(2 * num_found > num_tried);
}
