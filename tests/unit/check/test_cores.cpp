#include <catch2/catch.hpp>

#include "check/cores.hpp"
#include "support/expect_error.hpp"

namespace espalier::check {
namespace {

RankCores rank_on(const std::string& host, std::string_view cores, int threads) {
  return {host, cores_of_list(cores), threads};
}

}  // namespace

TEST_CASE("lists of cores are written as Linux writes them, and read back") {
  const std::vector<int> cores = {0, 1, 2, 3, 8, 10, 11};
  CHECK(list_text(cores) == "0-3,8,10-11");
  CHECK(cores_of_list("0-3,8,10-11") == cores);
  CHECK(list_text({}).empty());
  CHECK(cores_of_list("").empty());
}

TEST_CASE("this process may run somewhere") {
  CHECK_FALSE(own_cores().empty());
}

TEST_CASE("ranks with cores of their own and as many threads are ok") {
  const std::vector<RankCores> ranks = {rank_on("a", "0-1", 2), rank_on("a", "2-3", 2),
                                        rank_on("b", "0-1", 2), rank_on("b", "2-3", 2)};
  for (const Finding& finding : judge_cores(ranks)) CHECK(finding.verdict == Verdict::ok);
}

TEST_CASE("ranks of a host that share cores are named, those of two hosts are not") {
  const std::vector<RankCores> ranks = {rank_on("a", "0-1", 1), rank_on("a", "2-3", 1),
                                        rank_on("b", "0-3", 1), rank_on("b", "2-5", 1)};
  const std::vector<Finding> findings = judge_cores(ranks);
  REQUIRE(findings.size() == 2);
  CHECK(findings[0].verdict == Verdict::warning);
  testing::expect_words(findings[0].text, {"ranks 2 and 3", "on b", "cores 2-3"});
  testing::expect_words(findings[0].remedy, {"--cpu-bind=cores", "--bind-to core"});
  CHECK(findings[1].verdict == Verdict::ok);
}

TEST_CASE("more threads than cores is a warning with the number that fits") {
  const std::vector<RankCores> many = {rank_on("a", "0-3", 4), rank_on("a", "0-3", 4)};
  const Finding threads = judge_cores(many)[1];
  CHECK(threads.verdict == Verdict::warning);
  testing::expect_words(threads.text, {"8 threads", "2 ranks", "4 cores", "a"});
  testing::expect_words(threads.remedy, {"OMP_NUM_THREADS=2"});
  // Together they have enough, one of them has not.
  const std::vector<RankCores> uneven = {rank_on("a", "0-6", 1), rank_on("a", "7", 2)};
  const Finding one = judge_cores(uneven)[1];
  CHECK(one.verdict == Verdict::warning);
  testing::expect_words(one.text, {"rank 1", "2 threads", "cores 7"});
}

}  // namespace espalier::check
