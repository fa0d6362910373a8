#include <zlib.h>
#include <zstd.h>

#include <catch2/catch.hpp>
#include <vector>

#include "base/error.hpp"
#include "io/text_source.hpp"
#include "support/scratch_folder.hpp"

using namespace espalier;
using Catch::Matchers::Contains;
using espalier::io::TextSource;
using espalier::testing::ScratchFolder;
using espalier::testing::write_file;
using Texts = std::vector<std::string>;

namespace {

Texts read_all(const std::filesystem::path& path, TextSource::Options options = {}) {
  TextSource source(path, options);
  Texts documents;
  for (std::string document; source.next(document);) documents.push_back(document);
  CHECK(source.compressed_position() == source.compressed_size());
  std::string more;
  CHECK_FALSE(source.next(more));  // the end stays the end
  return documents;
}

std::string error_of(const std::filesystem::path& path, TextSource::Options options = {}) {
  try {
    TextSource source(path, options);
    for (std::string document; source.next(document);) {
    }
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::bad_data);
    CHECK_THAT(error.what(), Contains(path.string()));
    return error.what();
  }
  FAIL("no error was thrown");
  return "";
}

std::string gzip(const std::string& text) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string packed(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

std::string zstd(const std::string& text) {
  std::string packed(ZSTD_compressBound(text.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 3));
  return packed;
}

/// Text that does not compress to nothing, longer than the reader's blocks.
std::string long_text() {
  std::string text;
  for (std::uint32_t i = 0; i < 200'000; ++i) text += std::to_string(i * 2654435761u) + " ";
  return text;
}

}  // namespace

TEST_CASE("Plain text is one document, or divided by a separator", "[text_source]") {
  const ScratchFolder folder;
  const auto path = folder / "a.txt";
  write_file(path, "one\n\ntwo\nlines\n\n\n\nthree\n");
  CHECK(read_all(path) == Texts{"one\n\ntwo\nlines\n\n\n\nthree\n"});
  CHECK(read_all(path, {"\n\n"}) == Texts{"one", "two\nlines", "three\n"});
  CHECK(read_all(path, {"\n"}) == Texts{"one", "two", "lines", "three"});
  CHECK(read_all(path, {"<|endoftext|>"}).size() == 1);
  write_file(path, "one<|endoftext|>two<|endoftext|>");
  CHECK(read_all(path, {"<|endoftext|>"}) == Texts{"one", "two"});
  write_file(path, "");
  CHECK(read_all(path).empty());
  CHECK(read_all(path, {"\n"}).empty());
}

TEST_CASE("Separators are found across the blocks that are read", "[text_source]") {
  const ScratchFolder folder;
  const auto path = folder / "a.txt";
  Texts expected;
  std::string text;
  for (std::size_t i = 0; i < 300; ++i) {
    expected.push_back(std::string(i * 37 % 9001 + 1, static_cast<char>('a' + i % 26)) +
                       std::to_string(i));
    text += expected.back() + "<|sep|>";
  }
  write_file(path, text);
  CHECK(read_all(path, {"<|sep|>"}) == expected);
  write_file(folder / "a.txt.gz", gzip(text));
  CHECK(read_all(folder / "a.txt.gz", {"<|sep|>"}) == expected);
}

TEST_CASE("JSON lines hold a document each", "[text_source]") {
  const ScratchFolder folder;
  const auto path = folder / "a.jsonl";
  write_file(path,
             "{\"text\": \"one\\nline\", \"id\": 7}\n\r\n  \n{\"id\": 8, \"text\": \"\"}\r\n"
             "{\"text\": \"\\u00e9\\ud83d\\ude00\\u0000\"}");
  CHECK(read_all(path) == Texts{"one\nline", std::string("\xC3\xA9\xF0\x9F\x98\x80\0", 7)});
  write_file(folder / "b.json.zst", zstd("{\"body\":\"x\"}\n"));
  CHECK(read_all(folder / "b.json.zst", {"", "body"}) == Texts{"x"});
}

TEST_CASE("A bad JSON line is named by file and line", "[text_source]") {
  const ScratchFolder folder;
  const auto path = folder / "a.jsonl";
  const std::string good = "{\"text\": \"fine\"}\n\n";
  const auto message = [&](const std::string& line) {
    write_file(path, good + line + "\n" + good);
    return error_of(path);
  };
  CHECK_THAT(message("{\"text\": \"cut"), Contains("a.jsonl:3: not one JSON object per line"));
  CHECK_THAT(message("{\"text\": \"a\"} {\"text\": \"b\"}"), Contains("a.jsonl:3:"));
  CHECK_THAT(message("{\"text\": \"\xFF\"}"), Contains("a.jsonl:3:") && Contains("UTF-8"));
  CHECK_THAT(message("{"), Contains("one JSON object per line"));
  CHECK_THAT(message("[\"text\"]"), Contains("a JSON array where an object is expected"));
  CHECK_THAT(message("\"text\""), Contains("a JSON string"));
  CHECK_THAT(message("{\"body\": \"a\", \"id\": 1}"),
             Contains("no key \"text\" (there is: body, id)") && Contains("tokenize.text_key"));
  CHECK_THAT(message("{\"text\": 5}"), Contains("is a number, not a string"));
  CHECK_THAT(message("{\"text\": null}"), Contains("is a null, not a string"));
}

TEST_CASE("Packed files are unpacked on the way", "[text_source]") {
  const ScratchFolder folder;
  const std::string text = long_text();
  write_file(folder / "a.gz", gzip(text));
  write_file(folder / "a.dz", gzip(text));
  write_file(folder / "a.txt.zst", zstd(text));
  for (const char* name : {"a.gz", "a.dz", "a.txt.zst"})
    CHECK(read_all(folder / name) == Texts{text});
}

TEST_CASE("Packed parts one after another are one text", "[text_source]") {
  const ScratchFolder folder;
  const std::string text = long_text();
  write_file(folder / "a.gz", gzip("one") + gzip("") + gzip(text) + gzip("end"));
  CHECK(read_all(folder / "a.gz") == Texts{"one" + text + "end"});
  write_file(folder / "padded.gz", gzip("one") + std::string(1000, '\0'));
  CHECK(read_all(folder / "padded.gz") == Texts{"one"});
  write_file(folder / "a.zst", zstd("one") + zstd("") + zstd(text) + zstd("end"));
  CHECK(read_all(folder / "a.zst") == Texts{"one" + text + "end"});
  write_file(folder / "empty.gz", gzip(""));
  CHECK(read_all(folder / "empty.gz").empty());
}

TEST_CASE("Damaged packed files are errors", "[text_source]") {
  const ScratchFolder folder;
  const std::string text = long_text();
  for (const char* name : {"a.gz", "a.zst"}) {
    const std::string packed = name == std::string("a.gz") ? gzip(text) : zstd(text);
    const auto message = [&](const std::string& bytes) {
      write_file(folder / name, bytes);
      return error_of(folder / name);
    };
    INFO(name);
    CHECK_THAT(message(""), Contains("cut off"));
    CHECK_THAT(message(packed.substr(0, 3)), Contains("cut off"));
    CHECK_THAT(message(packed.substr(0, packed.size() / 2)), Contains("cut off"));
    CHECK_THAT(message(packed.substr(0, packed.size() - 1)), Contains("cut off"));
    CHECK_THAT(message(packed + "rubbish behind the end"), Contains("damaged"));
    CHECK_THAT(message("plain text under a wrong name"), Contains("damaged"));
  }
  std::string flipped = gzip(text);
  flipped[flipped.size() / 2] = static_cast<char>(flipped[flipped.size() / 2] ^ 4);
  write_file(folder / "flipped.gz", flipped);
  CHECK_THAT(error_of(folder / "flipped.gz"), Contains("damaged gzip data"));
}

TEST_CASE("A text that is not there is an error", "[text_source]") {
  const ScratchFolder folder;
  CHECK_THAT(error_of(folder / "absent.txt"), Contains("No such file"));
  CHECK_THAT(error_of(folder / "absent.jsonl.gz"), Contains("No such file"));
  CHECK_THAT(error_of(folder.path()), Contains("is a folder"));
}
