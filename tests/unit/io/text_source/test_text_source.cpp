#include <sys/stat.h>

#include <array>
#include <catch2/catch.hpp>
#include <fstream>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "io/text_source.hpp"
#include "packing.hpp"
#include "support/scratch_folder.hpp"

using namespace espalier;
using Catch::Matchers::Contains;
using espalier::io::TextSource;
using espalier::testing::bzip2;
using espalier::testing::gzip;
using espalier::testing::ScratchFolder;
using espalier::testing::write_file;
using espalier::testing::xz;
using espalier::testing::zstd;
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
  CHECK(read_all(folder / "b.json.zst", {.keys = {.text = {"body"}}}) == Texts{"x"});
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
  CHECK_THAT(message("{\"text\": null}"), Contains("is null, not a string"));
  CHECK_THAT(message("{\"text\": true}"), Contains("is true, not a string"));
  CHECK_THAT(message("{\"text\": [\"a\"]}"), Contains("is an array, not a string"));
  CHECK_THAT(message("{\"text\": {}}"), Contains("is an object, not a string"));
}

TEST_CASE("Packed files are unpacked on the way", "[text_source]") {
  const ScratchFolder folder;
  const std::string text = long_text();
  write_file(folder / "a.gz", gzip(text));
  write_file(folder / "a.dz", gzip(text));
  write_file(folder / "a.txt.zst", zstd(text));
  write_file(folder / "a.txt.BZ2", bzip2(text));
  write_file(folder / "a.txt.xz", xz(text));
  // The bytes are believed where the name says otherwise, or nothing.
  write_file(folder / "b.txt", xz(text));
  write_file(folder / "b.txt.gz", zstd(text));
  write_file(folder / "b", bzip2(text));
  for (const char* name :
       {"a.gz", "a.dz", "a.txt.zst", "a.txt.BZ2", "a.txt.xz", "b.txt", "b.txt.gz", "b"}) {
    INFO(name);
    CHECK(read_all(folder / name) == Texts{text});
  }
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
  write_file(folder / "a.bz2", bzip2("one") + bzip2("") + bzip2(text) + bzip2("end"));
  CHECK(read_all(folder / "a.bz2") == Texts{"one" + text + "end"});
  write_file(folder / "a.xz", xz("one") + xz("") + std::string(8, '\0') + xz(text) + xz("end"));
  CHECK(read_all(folder / "a.xz") == Texts{"one" + text + "end"});
  write_file(folder / "empty.gz", gzip(""));
  CHECK(read_all(folder / "empty.gz").empty());
}

TEST_CASE("Damaged packed files are errors", "[text_source]") {
  const ScratchFolder folder;
  const std::string text = long_text();
  using Pack = std::string (*)(const std::string&);
  for (const auto& [name, pack] : {std::pair<const char*, Pack>{"a.gz", gzip},
                                   {"a.zst", zstd},
                                   {"a.bz2", bzip2},
                                   {"a.xz", xz}}) {
    const std::string packed = pack(text);
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
    CHECK_THAT(message(packed + "xyz"), Contains("damaged"));
    CHECK_THAT(message(packed + packed.substr(0, 3)), Contains("cut off"));
    CHECK_THAT(message("plain text under a wrong name"), Contains("damaged"));
  }
  write_file(folder / "padded.xz", xz("one") + std::string(8, '\0'));
  CHECK(read_all(folder / "padded.xz") == Texts{"one"});
  write_file(folder / "padded.xz", xz("one") + std::string(6, '\0'));
  CHECK_THAT(error_of(folder / "padded.xz"), Contains("damaged"));
  std::string flipped = gzip(text);
  flipped[flipped.size() / 2] = static_cast<char>(flipped[flipped.size() / 2] ^ 4);
  write_file(folder / "flipped.gz", flipped);
  CHECK_THAT(error_of(folder / "flipped.gz"), Contains("damaged gzip data"));
}

TEST_CASE("The documents that end before a damage are given where that is wanted",
          "[text_source]") {
  const ScratchFolder folder;
  const auto lines = [](int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += "{\"text\": \"document " + std::to_string(i) + "\"}\n";
    return text;
  };
  using Pack = std::string (*)(const std::string&);
  for (const auto& [name, pack] : {std::pair<const char*, Pack>{"a.jsonl.gz", gzip},
                                   {"a.jsonl.zst", zstd},
                                   {"a.jsonl.bz2", bzip2},
                                   {"a.jsonl.xz", xz}}) {
    INFO(name);
    for (const int length : {3, 3000}) {  // within the first bytes, from which the kind is seen
      write_file(folder / name, pack(lines(length)) + "rubbish that is long enough");
      TextSource source(folder / name, {.reads_damaged = true});
      std::string document;
      for (int i = 0; i < length; ++i) {
        REQUIRE(source.next(document));
        CHECK(document == "document " + std::to_string(i));
      }
      CHECK_THROWS_WITH(source.next(document), Contains("damaged"));
      CHECK_THROWS_WITH(source.next(document), Contains("damaged"));
    }
  }
}

TEST_CASE("A text that is not there is an error", "[text_source]") {
  const ScratchFolder folder;
  CHECK_THAT(error_of(folder / "absent.txt"), Contains("No such file"));
  CHECK_THAT(error_of(folder / "absent.jsonl.gz"), Contains("No such file"));
  CHECK_THAT(error_of(folder.path()), Contains("is a folder"));
}

TEST_CASE("A zstd window may have 2 GiB", "[text_source]") {
  const ScratchFolder folder;
  const auto path = folder / "a.txt.zst";
  write_file(path, testing::zstd_with_window("some text", (31 - 10) << 3));
  CHECK(read_all(path) == Texts{"some text"});
  write_file(path, testing::zstd_with_window("some text", (32 - 10) << 3));
  CHECK_THAT(error_of(path), Contains("2 GiB"));
}

TEST_CASE("What is no text is refused by what it is", "[text_source]") {
  const ScratchFolder folder;
  const auto refusal = [&](const char* name, const std::string& bytes) {
    write_file(folder / name, bytes);
    return error_of(folder / name);
  };
  for (const char* bytes : {"PAR1", "{}\n", ""})
    CHECK_THAT(refusal("a.parquet", bytes), Contains("a.parquet: ") && Contains("Parquet"));
  CHECK_THAT(refusal("a.jsonl", "PAR1"), Contains("Parquet"));
  CHECK_THAT(refusal("a.parquet.gz", gzip("PAR1....PAR1")), Contains("packed once more"));
  CHECK_THAT(refusal("a.txt.gz", gzip(std::string("\xFF\xFEh\0i\0", 6))), Contains("UTF-16"));
  CHECK_THAT(refusal("a.txt.gz", gzip(gzip("text"))), Contains("packed twice"));
  CHECK_THAT(refusal("a.csv", "text,id\n"), Contains("tokenize.format"));
  CHECK_THAT(refusal("a.foo", "text"), Contains("tokenize.format"));
  CHECK(read_all(folder / "a.csv", {.format = io::TextFormat::plain}) == Texts{"text,id\n"});
  write_file(folder / "part-00000", "{\"text\": \"one\"}\n{\"text\": \"two\"}\n");
  CHECK(read_all(folder / "part-00000") == Texts{"one", "two"});
  write_file(folder / "part-00000", "{\"text\": \"one\"}\nnot JSON\n");
  CHECK_THAT(error_of(folder / "part-00000"), Contains("part-00000:2") && Contains("JSON lines") &&
                                                  Contains("tokenize.format = \"text\""));
}

TEST_CASE("Bad JSON lines can be passed over, and are counted by reason", "[text_source]") {
  const ScratchFolder folder;
  write_file(folder / "a.jsonl",
             "{\"text\": \"one\", \"score\": NaN}\n{\"text\": \"one\", \"score\": -Infinity}\n"
             "{\"text\": \"half \\ud800 \"}\n{\"text\": \"\xFF\"}\n{\"text\": \"cut\n"
             "[1]\n{\"body\": 1}\n{\"text\": null}\n\n{\"text\": \"\"}\n{\"text\": \"good\"}\n");
  TextSource source(folder / "a.jsonl", {.skip_bad_lines = true});
  std::string document;
  REQUIRE(source.next(document));
  CHECK(document == "good");
  CHECK_FALSE(source.next(document));
  const io::TextCounts& counts = source.counts();
  const auto of = [&](io::BadLine kind) {
    return counts.bad_lines[static_cast<std::size_t>(kind)];
  };
  CHECK(of(io::BadLine::not_a_number) == 2);
  CHECK(of(io::BadLine::lone_surrogate) == 1);
  CHECK(of(io::BadLine::not_utf8) == 1);
  CHECK(of(io::BadLine::not_json) == 1);
  CHECK(of(io::BadLine::not_an_object) == 1);
  CHECK(of(io::BadLine::no_such_key) == 1);
  CHECK(of(io::BadLine::not_a_string) == 1);
  CHECK(counts.empty_documents == 1);
  CHECK_THAT(error_of(folder / "a.jsonl"),
             Contains("a.jsonl:1:") && Contains("NaN") && Contains("tokenize.on_bad_line"));
}

TEST_CASE("A separator that never occurs is counted, and so is its form with other line ends",
          "[text_source]") {
  const ScratchFolder folder;
  const auto path = folder / "a.txt";
  const auto counts_of = [&](const std::string& text) {
    write_file(path, text);
    TextSource source(path, {.separator = "\n%%\n"});
    for (std::string document; source.next(document);) {
    }
    return source.counts();
  };
  CHECK(counts_of("one\n%%\ntwo").separators == 1);
  CHECK(counts_of("one%%two").separators == 0);
  CHECK_FALSE(counts_of("one%%two").has_separator_with_crlf);
  CHECK(counts_of("one\r\n%%\r\ntwo").separators == 0);
  CHECK(counts_of("one\r\n%%\r\ntwo").has_separator_with_crlf);
}

TEST_CASE("The byte-order mark of UTF-8 is no text", "[text_source]") {
  const ScratchFolder folder;
  write_file(folder / "a.txt", "\xEF\xBB\xBFone");
  CHECK(read_all(folder / "a.txt") == Texts{"one"});
  write_file(folder / "a.jsonl", "\xEF\xBB\xBF{\"text\": \"one\"}\n");
  CHECK(read_all(folder / "a.jsonl") == Texts{"one"});
}

TEST_CASE("A named pipe is read once, packed or not, whoever opens it first", "[text_source]") {
  const ScratchFolder folder;
  const std::string text = long_text();
  for (const std::string& bytes : {text, gzip(text), xz(text)}) {
    const auto path = folder / "pipe.txt";
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    std::thread writer([&] { std::ofstream(path, std::ios::binary) << bytes; });
    TextSource source(path, {});
    std::string document;
    CHECK(source.next(document));
    CHECK(document == text);
    CHECK_FALSE(source.next(document));
    CHECK(source.compressed_size() == 0);
    CHECK(source.compressed_position() == bytes.size());
    writer.join();
    std::filesystem::remove(path);
  }
}
