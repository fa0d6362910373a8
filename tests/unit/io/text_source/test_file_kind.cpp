#include <catch2/catch.hpp>
#include <string>

#include "io/file_kind.hpp"

using namespace espalier::io;
using Catch::Matchers::Contains;
using namespace std::string_literals;

TEST_CASE("A name says packing and format, in any letter case and with a number behind it",
          "[file_kind]") {
  struct Row {
    const char* name;
    Packing packing;
    TextFormat format;
  };
  for (const Row& row :
       {Row{"a.txt", Packing::none, TextFormat::plain},
        Row{"dir.v1/a.JSONL", Packing::none, TextFormat::json_lines},
        Row{"a.ndjson", Packing::none, TextFormat::json_lines},
        Row{"a.jsonlines", Packing::none, TextFormat::json_lines},
        Row{"a.json", Packing::none, TextFormat::json_lines},
        Row{"a.jsonl.1", Packing::none, TextFormat::json_lines},
        Row{"a.txt.007", Packing::none, TextFormat::plain},
        Row{"a.jsonl-00003-of-00010", Packing::none, TextFormat::json_lines},
        Row{"c4-train.00000-of-01024.json.gz", Packing::gzip, TextFormat::json_lines},
        Row{"a.jsonl.gzip", Packing::gzip, TextFormat::json_lines},
        Row{"wn.dict.dz", Packing::gzip, TextFormat::plain},
        Row{"a.TXT.GZ", Packing::gzip, TextFormat::plain},
        Row{"a.jsonl.bz2", Packing::bzip2, TextFormat::json_lines},
        Row{"a.jsonl.xz", Packing::xz, TextFormat::json_lines},
        Row{"a.ndjson.zstd", Packing::zstd, TextFormat::json_lines},
        Row{"a.jsonl.1.zst", Packing::zstd, TextFormat::json_lines},
        Row{"a.jsonl.zst.2", Packing::zstd, TextFormat::json_lines},
        Row{"train-00000-of-00017.parquet", Packing::none, TextFormat::parquet},
        Row{"part-0.snappy.PQ", Packing::none, TextFormat::parquet},
        Row{"README.md", Packing::none, TextFormat::plain}}) {
    INFO(row.name);
    const NamedKind kind = kind_of_name(row.name);
    CHECK(kind.packing == row.packing);
    REQUIRE(kind.format);
    CHECK(*kind.format == row.format);
    CHECK(kind.refusal.empty());
    CHECK(kind.in_folders == !std::string(row.name).ends_with(".md"));
  }
}

TEST_CASE("A name without an extension says nothing, and none that is foreign is accepted",
          "[file_kind]") {
  for (const char* name : {"part-00000", "a.gz", "a.7", "-", "/dev/fd/9", "wiki_00"}) {
    INFO(name);
    CHECK_FALSE(kind_of_name(name).format);
    CHECK(kind_of_name(name).refusal.empty());
  }
  const auto refusal = [](const char* name) {
    CHECK_FALSE(kind_of_name(name).format);
    return kind_of_name(name).refusal;
  };
  CHECK_THAT(refusal("a.CSV.gz"), Contains("separated values") && Contains("JSON lines"));
  CHECK_THAT(refusal("a.arrow"), Contains("Arrow"));
  CHECK_THAT(refusal("a.npy"), Contains("array"));
  CHECK_THAT(refusal("a.tar"), Contains("archive") && Contains("Unpack"));
  CHECK_THAT(refusal("a.tar.gz"), Contains("archive"));
  CHECK_THAT(refusal("a.jsonl.lz4"), Contains("packed"));
  CHECK_THAT(refusal("a.jsonl.part"), Contains("in the making"));
  CHECK_THAT(refusal("a.foo"), Contains(".foo") && Contains(".txt") && Contains("tokenize.format"));
  CHECK_THAT(refusal("a.jsonl-1-of-x"), Contains("tokenize.format"));
}

TEST_CASE("First bytes that no text has are named", "[file_kind]") {
  const auto expect = [](const std::string& head, const char* what) {
    INFO(what);
    CHECK_THAT(foreign_content(head), Contains(what));
  };
  expect("PAR1\x15\x04", "Parquet");
  expect("ARROW1\0\0"s, "Arrow");
  expect("\x93NUMPY\x01\0v\0"s, "npy");
  expect(std::string(257, 'a') + "ustar\0"s + "00", "tar");
  expect("PK\x03\x04", "zip");
  expect("\x89HDF\r\n\x1A\n", "HDF5");
  expect("%PDF-1.5", "PDF");
  expect("\xFF\xFEh\0i\0"s, "UTF-16");
  expect("\xFE\xFF\0h\0i"s, "UTF-16");
  expect("\xFF\xFE\0\0h\0\0\0"s, "UTF-32");
  expect("h\0e\0l\0l\0o\0 \0f\0o\0x\0"s, "UTF-16");
  expect("\x1F\x8B\x08\0\0\0"s, "packed twice");
  std::string numbers, noise;
  std::uint32_t state = 1;
  for (int i = 0; i < 1000; ++i) {
    numbers += static_cast<char>(i % 200) + "\0\0\0"s;
    state = state * 1664525 + 1013904223;
    noise += static_cast<char>(state >> 24);
  }
  expect(numbers, "binary");
  expect(noise, "binary");
}

TEST_CASE("Texts of every kind are texts", "[file_kind]") {
  std::string russian;  // in cp1251
  for (int i = 0; i < 500; ++i) russian += "\xCF\xF0\xE8\xE2\xE5\xF2, \xEC\xE8\xF0. ";
  for (const std::string& text :
       {std::string(), "a"s, "a\0b"s, "one\0two\0three and more\0"s, "\x1B[1mbold\x1B[0m\f"s,
        "\xEF\xBB\xBFwith a mark"s, "r\xE9sum\xE9 in Latin-1"s, russian, "PARENTS AND CHILDREN"s,
        "BZh9 is how bzip2 begins"s, "Rar things"s, "\xE2\x82\xAC and \xF0\x9F\x98\x80"s})
    CHECK(foreign_content(text) == "");
}

TEST_CASE("A file without an extension is JSON lines when it begins with an object",
          "[file_kind]") {
  CHECK(format_of_content("{\"text\": 1}\n") == TextFormat::json_lines);
  CHECK(format_of_content("\xEF\xBB\xBF\n { \"text\"") == TextFormat::json_lines);
  CHECK(format_of_content("{}") == TextFormat::json_lines);
  CHECK(format_of_content("{curly} braces in a text") == TextFormat::plain);
  CHECK(format_of_content("[1]") == TextFormat::plain);
  CHECK(format_of_content("") == TextFormat::plain);
}
