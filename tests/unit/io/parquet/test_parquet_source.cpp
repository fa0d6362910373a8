// The files are tests/fixtures/parquet/make_fixtures.py's.
#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "io/parquet_source.hpp"
#include "io/text_parts.hpp"
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

std::string error_of(const std::filesystem::path& path, const Texts& keys = {"text"},
                     const std::string& source_key = "") {
  try {
    read_all(ParquetSource(path, {.text_keys = keys, .source_key = source_key}));
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
  CHECK(groups[0].begin == 4);
  CHECK(groups[1].begin < groups[2].begin);
  const std::uint64_t file_size = std::filesystem::file_size(path);
  CHECK(groups[2].begin < file_size);
  for (const auto& group : groups) CHECK(group.bytes > 300);

  const auto part = [&](std::uint64_t begin, std::uint64_t end) {
    return read_all(ParquetSource(path, {}, {begin, end}));
  };
  CHECK(part(0, groups[1].begin) == expected(0, 100));
  CHECK(part(groups[1].begin, groups[2].begin) == expected(100, 200));
  CHECK(part(5, groups[2].begin + 1) == expected(100));
  CHECK(part(groups[1].begin + 1, file_size) == expected(200));
  CHECK(part(0, 4).empty());
  CHECK(part(groups[2].begin + 1, TextPart::kEndOfFile).empty());

  ParquetSource source(path, {});
  std::uint64_t position = 0;
  for (std::string text; source.next(text); position = source.position())
    CHECK(source.position() >= position);
  CHECK(source.position() == file_size);
}

TEST_CASE("fields of structs are columns, and several texts are joined", "[parquet]") {
  const auto path = fixture("nested");
  CHECK(read_all(ParquetSource(path, {.text_keys = {"meta.text"}})) == expected());
  Texts joined;
  for (std::size_t i = 0; i < kRows; ++i) {
    joined.push_back("title " + std::to_string(i));
    if (!text_of(i).empty()) joined.back() += "\n" + text_of(i);
  }
  CHECK(read_all(ParquetSource(path, {.text_keys = {"title", "meta.text"}})) == joined);
}

TEST_CASE("the source of a document is a column", "[parquet]") {
  ParquetSource source(fixture("nested"), {.text_keys = {"title"}, .source_key = "meta.url"});
  std::string text;
  for (std::size_t i = 0; i < kRows; ++i) {
    REQUIRE(source.next(text));
    CHECK(source.source() == (i % 7 == 0 ? "" : "u" + std::to_string(i)));
  }
  CHECK_FALSE(source.next(text));
  CHECK_THAT(error_of(fixture("nested"), {"title"}, "id"),
             Contains("\"id\" is no text") && Contains("tokenize.source_key"));
}

TEST_CASE("a Parquet file is a text like others, and is cut between row groups", "[parquet]") {
  const auto path = fixture("snappy");
  const TextSource::Options options;
  const auto read = [&](TextPart part) {
    Texts texts;
    TextSource source(path, options, part);
    CHECK(source.format() == TextFormat::parquet);
    for (std::string text; source.next(text);) texts.push_back(text);
    return texts;
  };
  CHECK(read({}) == expected());
  const std::uint64_t size = estimated_text_bytes(path, options);
  CHECK(cut_text(path, options, size) == std::vector<TextPart>(1));
  const auto parts = cut_text(path, options, 1);
  REQUIRE(parts.size() == 3);
  CHECK(parts.front().begin == 0);
  CHECK(parts.back().end == std::filesystem::file_size(path));
  Texts all;
  for (const TextPart& part : parts)
    for (std::string& text : read(part)) all.push_back(std::move(text));
  CHECK(all == expected());
  const ScratchFolder folder;  // the bytes say what it is, and a name does not hide it
  std::filesystem::copy_file(path, folder / "table.txt");
  std::string text;
  CHECK(TextSource(folder / "table.txt", {}).next(text));
  CHECK_THROWS_WITH(TextSource(folder / "table.txt", {.format = TextFormat::plain}),
                    Contains("holds Parquet, not text"));
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
