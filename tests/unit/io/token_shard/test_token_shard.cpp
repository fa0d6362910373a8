#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <csignal>
#include <vector>

#include "base/error.hpp"
#include "base/stop_request.hpp"
#include "io/hdf5.hpp"
#include "io/token_shard.hpp"
#include "support/scratch_folder.hpp"

using namespace espalier;
using namespace espalier::io;
using Catch::Matchers::Contains;
using espalier::testing::ScratchFolder;

namespace {

ShardInfo some_info() {
  ShardInfo info;
  info.tokenizer_identity = "0123456789abcdef";
  info.tokenizer_file = "inputs/tokenizer.json";
  info.vocabulary = 1000;
  info.end_of_text = 999;
  info.source = "a.txt b.txt";
  info.split = "train";
  return info;
}

std::vector<std::uint32_t> counting(std::size_t count, std::uint32_t first = 0) {
  std::vector<std::uint32_t> tokens(count);
  for (std::size_t i = 0; i < count; ++i)
    tokens[i] = (first + static_cast<std::uint32_t>(i)) % 1000;
  return tokens;
}

void write_shard(const std::filesystem::path& path, ShardInfo info = some_info()) {
  TokenShardWriter writer(path, info);
  writer.append(counting(5), 11);
  writer.append(counting(1, 7), 0);
  writer.append(counting(30, 990), 100);
  CHECK(writer.num_tokens() == 36);
  writer.finish();
}

/// The message of the Error that `action` throws; the status must be `status`.
template <class Action>
std::string error_of(ExitStatus status, Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    CHECK(error.status() == status);
    return error.what();
  }
  FAIL("no error was thrown");
  return "";
}

std::string open_error(const std::filesystem::path& path, bool verify = true) {
  return error_of(ExitStatus::bad_data, [&] { TokenShard::open(path, verify); });
}

void set_file_limit(rlim_t soft_limit_bytes) {
  rlimit limit{};
  getrlimit(RLIMIT_FSIZE, &limit);
  limit.rlim_cur = std::min(soft_limit_bytes, limit.rlim_max);
  setrlimit(RLIMIT_FSIZE, &limit);
}

/// Opens the shard's file for change, as a person with h5py would.
template <class Change>
void edit(const std::filesystem::path& path, Change&& change) {
  const auto lock = hdf5_lock();
  Hdf5File file(ESPALIER_HDF5(bad_data, path, H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT)));
  change(file.get());
  hdf5_close(std::move(file), path);
}

template <class Value>
void set_attribute(const std::filesystem::path& path, const char* name, const Value& value) {
  edit(path, [&](hid_t file) {
    REQUIRE(H5Adelete(file, name) >= 0);
    write_attribute(file, path, name, value);
  });
}

}  // namespace

TEST_CASE("A shard gives back what was written", "[token_shard]") {
  const ScratchFolder folder;
  const auto path = folder / "train-00000.h5";
  write_shard(path);
  const TokenShard shard = TokenShard::open(path, true);
  const ShardInfo& info = shard.info();
  CHECK(info.tokenizer_identity == "0123456789abcdef");
  CHECK(info.tokenizer_file == "inputs/tokenizer.json");
  CHECK(info.vocabulary == 1000);
  CHECK(info.end_of_text == 999);
  CHECK(info.source == "a.txt b.txt");
  CHECK(info.split == "train");
  CHECK(info.num_bytes == 111);
  CHECK(info.num_tokens == 36);
  CHECK(info.num_documents == 3);
  std::vector<std::uint32_t> expected = counting(5);
  for (auto part : {counting(1, 7), counting(30, 990)})
    expected.insert(expected.end(), part.begin(), part.end());
  CHECK(std::equal(expected.begin(), expected.end(), shard.tokens().begin(), shard.tokens().end()));
  const std::vector<std::uint64_t> starts{0, 5, 6};
  CHECK(
      std::equal(starts.begin(), starts.end(), shard.documents().begin(), shard.documents().end()));
  CHECK(shard.path() == path);
  // Nothing but the shard is left in the folder.
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("A shard larger than the writer's buffer is whole", "[token_shard]") {
  const ScratchFolder folder;
  const auto path = folder / "train-00000.h5";
  std::vector<std::uint32_t> expected;
  {
    TokenShardWriter writer(path, some_info());
    for (std::size_t size : {700'000u, 600'000u, 1u, 3'000'000u, 50u}) {
      const auto tokens = counting(size, static_cast<std::uint32_t>(size % 97));
      writer.append(tokens, size);
      expected.insert(expected.end(), tokens.begin(), tokens.end());
    }
    writer.finish();
  }
  const TokenShard shard = TokenShard::open(path, true);
  CHECK(std::equal(expected.begin(), expected.end(), shard.tokens().begin(), shard.tokens().end()));
}

TEST_CASE("An empty shard can be read", "[token_shard]") {
  const ScratchFolder folder;
  const auto path = folder / "train-00000.h5";
  TokenShardWriter(path, some_info()).finish();
  const TokenShard shard = TokenShard::open(path, true);
  CHECK(shard.tokens().empty());
  CHECK(shard.documents().empty());
}

TEST_CASE("An unfinished writer leaves nothing behind", "[token_shard]") {
  const ScratchFolder folder;
  {
    TokenShardWriter writer(folder / "train-00000.h5", some_info());
    writer.append(counting(10), 1);
    CHECK_FALSE(std::filesystem::is_empty(folder.path()));
  }
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("A writer does not overwrite a shard", "[token_shard]") {
  const ScratchFolder folder;
  const auto path = folder / "train-00000.h5";
  write_shard(path);
  const std::string message =
      error_of(ExitStatus::io_error, [&] { TokenShardWriter(path, some_info()); });
  CHECK_THAT(message,
             Contains(path.string()) && Contains("exists already") && Contains("tokenize.output"));
  CHECK(TokenShard::open(path, true).info().num_tokens == 36);
}

TEST_CASE("A folder that cannot be written is an error", "[token_shard]") {
  const ScratchFolder folder;
  CHECK_THAT(error_of(ExitStatus::io_error,
                      [&] { TokenShardWriter(folder / "none" / "train-00000.h5", some_info()); }),
             Contains("No such file or directory"));
}

TEST_CASE("A full disk is an error and leaves nothing behind", "[token_shard]") {
  const ScratchFolder folder;
  const auto path = folder / "train-00000.h5";
  // A limit on the size of files stands in for the disk: the write at the limit fails. The signal
  // that comes with it lifts the limit, which would hold for memory files too.
  const auto previous_handler = std::signal(SIGXFSZ, [](int) { set_file_limit(RLIM_INFINITY); });
  const auto limited_error = [&](rlim_t limit_bytes, std::size_t num_tokens) {
    return error_of(ExitStatus::io_error, [&] {
      TokenShardWriter writer(path, some_info());
      const auto tokens = counting(num_tokens);
      set_file_limit(limit_bytes);
      writer.append(tokens, 1);
      writer.finish();
    });
  };
  // In the spool, in the array of tokens, and in HDF5's own structures at the close.
  CHECK_THAT(limited_error(8'000'000, 3'000'000), Contains("File too large"));
  CHECK(std::filesystem::is_empty(folder.path()));
  CHECK_THAT(limited_error(12'000'000, 3'000'000), Contains(path.string()));
  CHECK(std::filesystem::is_empty(folder.path()));
  CHECK_THAT(limited_error(12'000'500, 3'000'000), Contains(path.string()));
  CHECK(std::filesystem::is_empty(folder.path()));
  std::signal(SIGXFSZ, previous_handler);
  // The library is still usable afterwards.
  write_shard(path);
  CHECK(TokenShard::open(path, true).info().num_tokens == 36);
}

TEST_CASE("What is not a token shard is named and refused", "[token_shard]") {
  const ScratchFolder folder;
  const auto path = folder / "train-00000.h5";
  SECTION("missing") {
    CHECK_THAT(open_error(path), Contains(path.string()) && Contains("no such token shard") &&
                                     Contains("espalier tokenize"));
  }
  SECTION("text") {
    testing::write_file(path, "once upon a time");
    CHECK_THAT(open_error(path), Contains(path.string()) && Contains("not a token shard"));
  }
  SECTION("empty file") {
    testing::write_file(path, "");
    CHECK_THAT(open_error(path), Contains("not a token shard"));
  }
  SECTION("folder") {
    std::filesystem::create_directory(path);
    CHECK_THAT(error_of(ExitStatus::io_error, [&] { TokenShard::open(path, true); }),
               Contains("Is a directory"));
  }
  SECTION("other HDF5 file") {
    {
      const auto lock = hdf5_lock();
      Hdf5File file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
      hdf5_close(std::move(file), path);
    }
    CHECK_THAT(open_error(path), Contains("not a token shard"));
  }
  SECTION("other format") {
    write_shard(path);
    set_attribute(path, "format", std::string("espalier checkpoint"));
    CHECK_THAT(open_error(path), Contains("not a token shard"));
  }
  SECTION("other version") {
    write_shard(path);
    set_attribute(path, "format_version", std::uint64_t{2});
    CHECK_THAT(open_error(path), Contains("format version 2") && Contains("reads version 1"));
  }
}

TEST_CASE("A header that contradicts the arrays is refused", "[token_shard]") {
  const ScratchFolder folder;
  const auto path = folder / "train-00000.h5";
  write_shard(path);
  SECTION("number of tokens") {
    set_attribute(path, "num_tokens", std::uint64_t{35});
    CHECK_THAT(open_error(path, false), Contains("has 36 elements, its header says 35"));
  }
  SECTION("vocabulary smaller than the largest id") {
    set_attribute(path, "vocabulary", std::uint64_t{999});
    set_attribute(path, "end_of_text", std::uint64_t{0});
    CHECK_NOTHROW(TokenShard::open(path, false));
    CHECK_THAT(open_error(path), Contains("has id 999") && Contains("999 ids"));
  }
  SECTION("end of text outside the vocabulary") {
    set_attribute(path, "end_of_text", std::uint64_t{1000});
    CHECK_THAT(open_error(path, false), Contains("no token ids"));
  }
  SECTION("missing attribute") {
    edit(path, [](hid_t file) { H5Adelete(file, "tokenizer"); });
    CHECK_THAT(open_error(path), Contains("\"tokenizer\" is missing"));
  }
  SECTION("attribute of another type") {
    set_attribute(path, "num_bytes", std::string("many"));
    CHECK_THAT(open_error(path), Contains("\"num_bytes\" is not an integer"));
  }
  SECTION("missing dataset") {
    edit(path, [](hid_t file) { H5Ldelete(file, "tokens", H5P_DEFAULT); });
    CHECK_THAT(open_error(path), Contains("`tokens` is missing"));
  }
  SECTION("document starts") {
    using Starts = std::array<std::uint64_t, 3>;
    for (const Starts& starts : {Starts{0, 6, 5}, Starts{0, 5, 5}, Starts{1, 5, 6},
                                 Starts{0, 5, 36}, Starts{0, 5, ~std::uint64_t{0}}}) {
      edit(path, [&](hid_t file) {
        const Hdf5Dataset dataset(H5Dopen2(file, "documents", H5P_DEFAULT));
        REQUIRE(H5Dwrite(dataset.get(), H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                         starts.data()) >= 0);
      });
      CHECK_THAT(open_error(path), Contains(path.string()) && Contains("document starts"));
    }
  }
  SECTION("compressed dataset") {
    edit(path, [](hid_t file) {
      H5Ldelete(file, "tokens", H5P_DEFAULT);
      const hsize_t count = 36;
      const Hdf5Space space(H5Screate_simple(1, &count, nullptr));
      const Hdf5PropertyList creation(H5Pcreate(H5P_DATASET_CREATE));
      H5Pset_chunk(creation.get(), 1, &count);
      const Hdf5Dataset dataset(H5Dcreate2(file, "tokens", H5T_STD_U32LE, space.get(), H5P_DEFAULT,
                                           creation.get(), H5P_DEFAULT));
    });
    CHECK_THAT(open_error(path), Contains("not a contiguous array of 32-bit integers"));
  }
}

TEST_CASE("A shard without a checksum of its document starts is read", "[token_shard]") {
  const ScratchFolder folder;
  const auto path = folder / "train-00000.h5";
  write_shard(path);
  const auto change = [&](hid_t file) {
    const std::array<std::uint64_t, 3> starts{0, 4, 6};
    const Hdf5Dataset dataset(H5Dopen2(file, "documents", H5P_DEFAULT));
    REQUIRE(H5Dwrite(dataset.get(), H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                     starts.data()) >= 0);
  };
  edit(path, change);
  CHECK_THAT(open_error(path), Contains("checksum of the document starts"));
  edit(path, [](hid_t file) { H5Adelete(file, "documents_checksum"); });
  CHECK(TokenShard::open(path, true).documents()[1] == 4);
}

TEST_CASE("Every truncation of a shard is noticed", "[token_shard]") {
  const ScratchFolder folder;
  const auto path = folder / "train-00000.h5";
  write_shard(path);
  const std::string bytes = testing::read_file(path);
  for (std::size_t size = 0; size < bytes.size(); size += 61) {
    const auto cut = folder / "cut.h5";
    testing::write_file(cut, std::string_view(bytes).substr(0, size));
    INFO("first " << size << " of " << bytes.size() << " bytes");
    CHECK_THAT(open_error(cut), Contains(cut.string()));
  }
}

TEST_CASE("A flipped bit is noticed or changes nothing", "[token_shard]") {
  const ScratchFolder folder;
  const auto path = folder / "train-00000.h5";
  write_shard(path);
  const std::string bytes = testing::read_file(path);
  const TokenShard original = TokenShard::open(path, true);
  std::size_t num_noticed = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string changed = bytes;
    changed[i] = static_cast<char>(changed[i] ^ (1 << (i % 8)));
    const auto flipped = folder / "flipped.h5";
    testing::write_file(flipped, changed);
    INFO("byte " << i);
    try {
      const TokenShard shard = TokenShard::open(flipped, true);
      REQUIRE(std::equal(shard.tokens().begin(), shard.tokens().end(), original.tokens().begin(),
                         original.tokens().end()));
      REQUIRE(std::equal(shard.documents().begin(), shard.documents().end(),
                         original.documents().begin(), original.documents().end()));
      REQUIRE(shard.info().tokenizer_identity == original.info().tokenizer_identity);
      REQUIRE(shard.info().num_bytes == original.info().num_bytes);
    } catch (const Error& error) {
      REQUIRE(error.status() == ExitStatus::bad_data);
      ++num_noticed;
    }
  }
  CHECK(num_noticed > 36 * 4);
}

TEST_CASE("A rank that is told of a shard has what the one that read it has", "[token_shard]") {
  const ScratchFolder folder;
  write_shard(folder / "train-00000.h5");
  TokenShardWriter(folder / "empty.h5", some_info()).finish();
  for (const char* name : {"train-00000.h5", "empty.h5"}) {
    const TokenShard read = TokenShard::open(folder / name, true);
    const TokenShard told = TokenShard::told(read.outline());
    CHECK(told.path() == read.path());
    CHECK(std::ranges::equal(told.tokens(), read.tokens()));
    CHECK(std::ranges::equal(told.documents(), read.documents()));
    CHECK(told.outline() == read.outline());
    CHECK(told.info().checksum == read.info().checksum);
    CHECK(told.info().num_bytes == read.info().num_bytes);
  }
  const std::string outline = TokenShard::open(folder / "train-00000.h5", true).outline();
  std::filesystem::resize_file(folder / "train-00000.h5", 100);
  CHECK_THAT(error_of(ExitStatus::bad_data, [&] { TokenShard::told(outline); }),
             Contains("train-00000.h5") && Contains("100 bytes here"));
  std::filesystem::remove(folder / "train-00000.h5");
  CHECK_THAT(error_of(ExitStatus::io_error, [&] { TokenShard::told(outline); }),
             Contains("train-00000.h5"));
}

TEST_CASE("A data key names a shard or a folder of shards", "[token_shard]") {
  const ScratchFolder folder;
  ShardInfo info = some_info();
  write_shard(folder / "train-00001.h5");
  write_shard(folder / "train-00000.h5");
  info.split = "validation";
  write_shard(folder / "validation-00000.h5", info);
  testing::write_file(folder / "train-00002.h5.partial", "unfinished");
  const std::string where = folder.path().string();
  const auto train = open_shards(where, "train", true);
  REQUIRE(train.size() == 2);
  CHECK(train[0].path().filename() == "train-00000.h5");
  CHECK(train[1].path().filename() == "train-00001.h5");
  CHECK(open_shards(where, "validation", true).size() == 1);
  CHECK(open_shards((folder / "train-00001.h5").string(), "train", true).size() == 1);

  info.tokenizer_identity = "fedcba9876543210";
  info.split = "train";
  write_shard(folder / "train-00002.h5", info);
  CHECK_THAT(
      error_of(ExitStatus::bad_data, [&] { open_shards(where, "train", false); }),
      Contains("train-00002.h5") && Contains("fedcba9876543210") && Contains("0123456789abcdef"));
}

TEST_CASE("A data key that names nothing is an error", "[token_shard]") {
  const ScratchFolder folder;
  const auto message = [&](const std::string& where) {
    return error_of(ExitStatus::bad_data, [&] { open_shards(where, "train", false); });
  };
  CHECK_THAT(message(""), Contains("data.train"));
  CHECK_THAT(message(folder.path().string()), Contains("no train-*.h5"));
  CHECK_THAT(message((folder / "absent").string()), Contains("no such token shard"));
}

TEST_CASE("a request to stop is heard while a checksum is compared") {
  const ScratchFolder folder;
  const auto path = folder / "train-00000.h5";
  write_shard(path);
  const StopSignals signals;
  TokenShard::open(path, true);
  std::raise(SIGUSR2);
  CHECK_THAT(error_of(ExitStatus::stopped_early, [&] { TokenShard::open(path, true); }),
             Contains("stopped") && Contains("train-00000.h5"));
  TokenShard::open(path, false);  // only maps it
}
