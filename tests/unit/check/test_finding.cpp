#include <catch2/catch.hpp>

#include "check/finding.hpp"
#include "check/job.hpp"
#include "support/expect_error.hpp"

namespace espalier::check {

TEST_CASE("the status is that of the first problem; warnings have none") {
  std::vector<Finding> findings = {ok("a", "x"), warning("b", "y", "z")};
  CHECK(status_of(findings) == ExitStatus::ok);
  findings.push_back(problem("c", ExitStatus::io_error, "full", "make room"));
  findings.push_back(problem("d", ExitStatus::bad_data, "not there"));
  CHECK(status_of(findings) == ExitStatus::io_error);
}

TEST_CASE("findings are printed by group, with remedies below and the sum at the end") {
  std::vector<Finding> findings = {ok("a", "x"),
                                   problem("c", ExitStatus::io_error, "full\nof it", "make room")};
  findings[0].group = "MPI";
  findings[1].group = "output";
  CHECK(print(findings, report::Format::text) ==
        "MPI\n  ok       a: x\n\noutput\n  problem  c: full\n           of it\n"
        "           -> make room\n\n"
        "1 ok, 0 warnings, 1 problem: the job would end with status 74\n");
  testing::expect_words(print(findings, report::Format::json),
                        {"\"group\": \"output\"", "\"verdict\": \"problem\"", "\"status\": 74"});
}

TEST_CASE("the same error of many ranks is one line with all of them") {
  const std::vector<Answer> answers = {{"fine"},
                                       {"no file", ExitStatus::bad_data},
                                       {"no file", ExitStatus::bad_data},
                                       {"full", ExitStatus::io_error}};
  const Errors errors = errors_of(answers, {"n0", "n1", "n2", "n3"});
  CHECK(errors.text == "ranks 1-2 (n1): no file\nrank 3 (n3): full");
  CHECK(errors.status == ExitStatus::bad_data);
  CHECK(errors_of({{"fine"}}, {"n0"}).text.empty());
}

}  // namespace espalier::check
