#include <catch2/catch.hpp>

#include "io/corpus_counts.hpp"
#include "io/corpus_manifest.hpp"
#include "support/expect_error.hpp"

using namespace espalier;
using Catch::Matchers::Contains;
using io::CorpusCounts;
using io::CorpusManifest;

namespace {

CorpusManifest example() {
  CorpusManifest manifest;
  manifest.settings = {{"tokenize.shard_tokens", "5000"}, {"the tokenizer", "0123"}};
  manifest.bytes_per_token = 10.0 / 3.0;
  manifest.files = {{"a.txt", 100, 7}, {"not UTF-8 \xFF.txt", 50, 8}, {"-", 0, 0}};
  manifest.units = {{{0, {0, 60}}}, {{0, {60, 100}}, {1, {}}}, {{2, {}}}};
  return manifest;
}

}  // namespace

TEST_CASE("A manifest comes back from its text as it was", "[corpus]") {
  const CorpusManifest manifest = example();
  const CorpusManifest again = CorpusManifest::parse(manifest.text(), "m.json");
  CHECK(again.settings == manifest.settings);
  CHECK(again.bytes_per_token == manifest.bytes_per_token);
  CHECK(again.files == manifest.files);
  CHECK(again.units == manifest.units);
  CHECK(manifest.difference(again).empty());
  CHECK(manifest.unit_bytes(manifest.units[1]) == 90);
  for (const char* text : {"", "{}", "[]", "{\"format\": \"x\", \"version\": 1}"})
    CHECK_THROWS_WITH(CorpusManifest::parse(text, "m.json"), Contains("m.json"));
}

TEST_CASE("What is not the same in two manifests is said", "[corpus]") {
  const auto difference = [](auto&& change) {
    CorpusManifest other = example();
    change(other);
    return other.difference(example());
  };
  CHECK_THAT(difference([](auto& m) { m.settings[0].second = "100"; }),
             Contains("tokenize.shard_tokens was 5000 and is 100"));
  CHECK_THAT(difference([](auto& m) { m.files.pop_back(); }), Contains("3 input files and are 2"));
  CHECK_THAT(difference([](auto& m) { m.files[0].path = "b.txt"; }),
             Contains("was a.txt and is b.txt"));
  CHECK_THAT(difference([](auto& m) { m.files[0].num_bytes = 99; }),
             Contains("a.txt had 100 bytes and has 99"));
  CHECK_THAT(difference([](auto& m) { m.files[0].mtime_ns = 9; }), Contains("a.txt was written"));
  CHECK_THAT(difference([](auto& m) { m.units.pop_back(); }), Contains("another version"));
}

TEST_CASE("Counts come back from their text, and add up", "[corpus]") {
  CorpusCounts counts;
  counts.sources["web"] = {io::SplitCounts{2, 30, 10, 1}, io::SplitCounts{1, 3, 1, 1}};
  counts.bad_lines[1] = 4;
  counts.empty_documents = 5;
  counts.empty_files = 1;
  counts.damaged["x.gz"] = "x.gz: cut off";
  counts.num_plain = 2;
  counts.without_separator = {"y.txt"};
  for (int i = 0; i < 20; ++i) counts.add_time({"f" + std::to_string(i), i * 7 % 20 / 2.0, 1});
  CHECK(counts.slowest.size() == CorpusCounts::kMostSlow);
  CHECK(counts.slowest.front().seconds == 9.5);
  CHECK(CorpusCounts::parse(counts.text(), "u").text() == counts.text());
  CorpusCounts sum = counts;
  sum.add(CorpusCounts::parse(counts.text(), "u"));
  CHECK(sum.total(io::Split::train).num_tokens == 20);
  CHECK(sum.total().num_documents == 6);
  CHECK(sum.bad_lines[1] == 8);
  CHECK(sum.damaged.size() == 1);
  CHECK_THROWS_WITH(CorpusCounts::parse("{}", "unit-00001.done"), Contains("unit-00001.done"));
  CHECK_THAT(io::corpus_report(sum, "id", 2, 1.5),
             Contains("\"damaged_files\"") && Contains("\"web\""));
}
