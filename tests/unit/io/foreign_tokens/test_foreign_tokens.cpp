#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "io/foreign_tokens.hpp"
#include "support/scratch_folder.hpp"

using namespace espalier;
using namespace espalier::io;
using Catch::Matchers::Contains;
using espalier::testing::ScratchFolder;
using espalier::testing::write_file;

namespace {

/// a.bin a.idx b.bin sub/c.bin sub/c.idx and a file of another kind.
class Tree {
 public:
  Tree() {
    std::filesystem::create_directory(folder_ / "sub");
    for (const char* name : {"a.bin", "a.idx", "b.bin", "sub/c.bin", "sub/c.idx", "readme.txt"})
      write_file(folder_ / name, "x");
  }
  std::string operator()(const std::string& name) const { return (folder_ / name).string(); }
  /// Names of the files that are read, "+" in front of Megatron's.
  std::string list(const std::vector<std::string>& names) const {
    std::vector<std::string> full;
    for (const std::string& name : names) full.push_back((*this)(name));
    std::string found;
    for (const ForeignTokens& file : list_foreign_tokens(full)) {
      CHECK(file.index.empty() == (file.format == ForeignTokens::Format::llmc));
      found += (found.empty() ? "" : " ") + std::string(file.index.empty() ? "" : "+") +
               std::filesystem::relative(file.data, folder_.path()).string();
    }
    return found;
  }
  std::string error(const std::vector<std::string>& names) const {
    try {
      list(names);
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

}  // namespace

TEST_CASE("a data set of two files is named by either or by their prefix", "[foreign_tokens]") {
  const Tree tree;
  CHECK(tree.list({"a.bin"}) == "+a.bin");
  CHECK(tree.list({"a.idx"}) == "+a.bin");
  CHECK(tree.list({"a"}) == "+a.bin");
  CHECK(tree.list({"b.bin"}) == "b.bin");
  CHECK(tree.list({"b.bin", "a"}) == "b.bin +a.bin");
}

TEST_CASE("a folder stands for the token files below it", "[foreign_tokens]") {
  const Tree tree;
  CHECK(tree.list({""}) == "+a.bin b.bin +sub/c.bin");
  CHECK(tree.list({"sub"}) == "+sub/c.bin");
}

TEST_CASE("the two files of a data set are one, any other repetition is refused",
          "[foreign_tokens]") {
  const Tree tree;
  CHECK(tree.list({"a.bin", "a.idx", "b.bin"}) == "+a.bin b.bin");
  CHECK_THAT(tree.error({"b.bin", "b.bin"}), Contains("b.bin") && Contains("twice"));
  CHECK_THAT(tree.error({"a.idx", "a"}), Contains("a.idx") && Contains("twice"));
  CHECK_THAT(tree.error({"sub/c.bin", "sub/../sub/c.bin"}), Contains("twice"));
}

TEST_CASE("names that mean no token file are refused", "[foreign_tokens]") {
  const Tree tree;
  CHECK_THAT(tree.error({"none"}), Contains("none") && Contains("no such file"));
  std::filesystem::remove(tree("a.bin"));
  CHECK_THAT(tree.error({"a.idx"}), Contains("a.idx") && Contains("a.bin"));
  CHECK_THAT(tree.error({""}), Contains("a.bin"));
  std::filesystem::remove_all(tree("sub"));
  std::filesystem::create_directory(tree("sub"));
  CHECK_THAT(tree.error({"sub"}), Contains("sub") && Contains("no token files"));
}
