#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <random>
#include <vector>

#include "io/direct_file.hpp"
#include "support/scratch_folder.hpp"

using namespace espalier::io;
using espalier::testing::ScratchFolder;

namespace {

/// Pieces of all sizes and alignments, written one behind the other, some of them twice, between
/// bytes that were in the file before.
void write_and_compare(const std::filesystem::path& path, bool wanted) {
  std::mt19937 random(1);
  constexpr std::size_t kBytes = 48 << 20;
  std::vector<unsigned char> expected(kBytes);
  for (auto& byte : expected) byte = static_cast<unsigned char>(random());
  FileDescriptor file(path, O_RDWR | O_CREAT | O_TRUNC);
  file.write_at(expected.data(), kBytes, 0);
  DirectFile direct(file, wanted);
  if (!wanted) CHECK_FALSE(direct.is_direct());
  std::size_t at = 1000;
  for (const std::size_t bytes :
       {std::size_t{1}, std::size_t{4096}, std::size_t{20} << 20, std::size_t{300'000},
        std::size_t{1} << 20, std::size_t{7}, (std::size_t{17} << 20) + 4095}) {
    for (std::size_t i = at; i < at + bytes; ++i) expected[i] ^= 0x5A;
    direct.write_at(expected.data() + at, bytes, at);
    at += bytes;
  }
  REQUIRE(at < kBytes);
  file.flush();
  std::vector<unsigned char> found(kBytes);
  file.read_at(found.data(), kBytes, 0);
  CHECK(file.size() == kBytes);
  CHECK((found == expected));
}

}  // namespace

TEST_CASE("pieces written past the page cache are the file's bytes, whatever their alignment") {
  const ScratchFolder scratch;
  write_and_compare(scratch / "direct", true);
  write_and_compare(scratch / "cached", false);
}

TEST_CASE("a file system without direct writes gets all through the cache") {
  // tmpfs takes no O_DIRECT before Linux 6.5.
  if (!std::filesystem::exists("/dev/shm")) return;
  const std::filesystem::path path = "/dev/shm/espalier-direct-" + std::to_string(::getpid());
  write_and_compare(path, true);
  std::filesystem::remove(path);
}
