#include <catch2/catch.hpp>

#include "check/file_system.hpp"
#include "check/output_probe.hpp"
#include "support/expect_error.hpp"
#include "support/scratch_folder.hpp"

namespace espalier::check {

namespace fs = std::filesystem;

TEST_CASE("file systems are called by their names, unknown ones by their number") {
  CHECK(name_of_file_system(0x6969) == "nfs");
  CHECK(name_of_file_system(0x0BD00BD0) == "lustre");
  CHECK(name_of_file_system(0x1234).find("0x1234") != std::string::npos);
  CHECK(judge_kind({.kind = "tmpfs"}, "/dev/shm").verdict == Verdict::warning);
  CHECK(judge_kind({.kind = "lustre"}, "/scratch").verdict == Verdict::ok);
}

TEST_CASE("checkpoints that do not fit are a problem, those kept for good a warning") {
  const CheckpointNeed need{.bytes = 100, .files = 10, .at_once = 3, .there = 1};
  CHECK(judge_space({"ext4", 200, 20}, need)[0].verdict == Verdict::ok);  // exactly two further
  CHECK(judge_space({"ext4", 200, 20}, need)[1].verdict == Verdict::ok);
  const Finding full = judge_space({"ext4", 199, 20}, need)[0];
  CHECK(full.verdict == Verdict::problem);
  CHECK(full.status == ExitStatus::io_error);
  testing::expect_words(full.text, {"199", "2 further checkpoints"});
  testing::expect_words(full.remedy, {"checkpoint.keep"});
  const Finding inodes = judge_space({"ext4", 200, 19}, need)[1];
  CHECK(inodes.verdict == Verdict::problem);
  testing::expect_words(inodes.text, {"19", "20"});
  CHECK(judge_space({"btrfs", 200, -1}, need)[1].verdict == Verdict::ok);
  CheckpointNeed lasting = need;
  lasting.for_good = 5;
  CHECK(judge_space({"ext4", 699, 99}, lasting)[0].verdict == Verdict::warning);
  CHECK(judge_space({"ext4", 700, 99}, lasting)[0].verdict == Verdict::ok);
}

TEST_CASE("a run that replaces its checkpoints still needs room for one") {
  const CheckpointNeed need{.bytes = 100, .files = 10, .at_once = 1, .there = 1};
  CHECK(judge_space({"ext4", 99, 99}, need)[0].verdict == Verdict::problem);
}

TEST_CASE("a probe of writing leaves nothing, and fails with the folder's name") {
  const testing::ScratchFolder scratch;
  {
    const ProbeFolder probe(scratch.path());
    CHECK(try_writing(probe.path()).verdict == Verdict::ok);
    CHECK_FALSE(fs::is_empty(scratch.path()));
  }
  CHECK(fs::is_empty(scratch.path()));
  const Finding finding = try_writing(scratch / "not-there");
  CHECK(finding.verdict == Verdict::problem);
  CHECK(finding.status == ExitStatus::io_error);
  testing::expect_words(finding.text, {"not-there"});
  CHECK(nearest_folder(scratch / "a/b/c") == scratch.path());
}

}  // namespace espalier::check
