#include <catch2/catch.hpp>
#include <cerrno>

#include "base/whole_file.hpp"
#include "support/scratch_folder.hpp"

using namespace espalier;

TEST_CASE("a file is read as it is, and errno says why it cannot be") {
  const testing::ScratchFolder folder;
  const std::string bytes("a\r\n\0\xFF", 5);
  testing::write_file(folder / "a", bytes);
  testing::write_file(folder / "empty", "");
  CHECK(read_whole_file(folder / "a") == bytes);
  CHECK(read_whole_file(folder / "empty") == "");
  CHECK_FALSE(read_whole_file(folder.path()));
  CHECK(errno == EISDIR);
  CHECK_FALSE(read_whole_file(folder / "none"));
  CHECK(errno == ENOENT);
}
