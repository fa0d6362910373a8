#include <fmt/core.h>

#include <catch2/catch.hpp>

#include "check/memory_limits.hpp"
#include "support/scratch_folder.hpp"

namespace espalier::check {

namespace fs = std::filesystem;
constexpr std::int64_t kGiB = std::int64_t{1} << 30;

TEST_CASE("what Linux has available is read from its text") {
  const auto limits = limits_of_meminfo("MemTotal: 99 kB\nMemAvailable:   2097152 kB\n");
  REQUIRE(limits.size() == 1);
  CHECK(limits[0].bytes == 2 * kGiB);
  CHECK(limits_of_meminfo("MemTotal: 99 kB\n").empty());
}

TEST_CASE("limits of cgroups v2 count for the group and for all above it") {
  const testing::ScratchFolder root;
  const fs::path step = root / "slurm/job_7/step_0";
  fs::create_directories(step);
  testing::write_file(step / "memory.max", "max\n");
  testing::write_file(root / "slurm/job_7/memory.max", fmt::format("{}\n", 8 * kGiB));
  testing::write_file(root / "slurm/job_7/memory.current", fmt::format("{}\n", 3 * kGiB));
  testing::write_file(root / "slurm/job_7/memory.stat",
                      fmt::format("anon 5\ninactive_file {}\n", 2 * kGiB));
  const auto limits = limits_of_cgroups(root.path(), "0::/slurm/job_7/step_0\n");
  REQUIRE(limits.size() == 1);
  CHECK(limits[0].bytes == 7 * kGiB);  // pages of files are given up
  CHECK(limits[0].whose.find("job_7") != std::string::npos);
}

TEST_CASE("limits of cgroups v1 are read, and a number near 2^63 is none") {
  const testing::ScratchFolder root;
  fs::create_directories(root / "memory/job");
  testing::write_file(root / "memory/memory.limit_in_bytes", "9223372036854771712\n");
  testing::write_file(root / "memory/job/memory.limit_in_bytes", fmt::format("{}\n", 4 * kGiB));
  testing::write_file(root / "memory/job/memory.usage_in_bytes", fmt::format("{}\n", kGiB));
  const auto limits = limits_of_cgroups(root.path(), "5:cpu:/x\n4:hugetlb,memory:/job\n");
  REQUIRE(limits.size() == 1);
  CHECK(limits[0].bytes == 3 * kGiB);
}

TEST_CASE("text that is no list of cgroups, and groups that are not there, limit nothing") {
  const testing::ScratchFolder root;
  CHECK(limits_of_cgroups(root.path(), "").empty());
  CHECK(limits_of_cgroups(root.path(), "no colons\n0::").empty());
  CHECK(limits_of_cgroups(root.path(), "0::/not/there\n").empty());
}

TEST_CASE("Slurm's limits are in MiB, and 0 is all of the node") {
  REQUIRE(limits_of_slurm("2048", nullptr, nullptr).size() == 1);
  CHECK(limits_of_slurm("2048", "1", "1")[0].bytes == 2 * kGiB);
  CHECK(limits_of_slurm(nullptr, "512", "4")[0].bytes == 2 * kGiB);
  CHECK(limits_of_slurm("0", nullptr, nullptr).empty());
  CHECK(limits_of_slurm(nullptr, nullptr, "4").empty());
  CHECK(limits_of_slurm("abc", nullptr, nullptr).empty());
}

}  // namespace espalier::check
