#include <catch2/catch.hpp>
#include <csignal>

#include "base/stop_request.hpp"
#include "support/expect_error.hpp"
#include "train/stopped_early.hpp"

namespace espalier::train {

TEST_CASE("a start goes on where nobody was asked to stop") {
  parallel::MpiSession session(nullptr, nullptr);
  const StopSignals signals;
  int parts = 0;
  until_stopped([&] {
    for (; parts < 3; ++parts) require_not_stopped("reading a checkpoint");
  });
  CHECK(parts == 3);
  leave_if_stopped(session, "reading a checkpoint");
}

TEST_CASE("a signal to one rank ends what it reads, and the start of all") {
  parallel::MpiSession session(nullptr, nullptr);
  const StopSignals signals;
  const bool is_asked = session.rank() == session.size() - 1;
  int parts = 0;
  until_stopped([&] {
    for (; parts < 3; ++parts) {
      if (is_asked && parts == 1) std::raise(SIGUSR2);
      require_not_stopped("reading a checkpoint");
    }
  });
  CHECK(parts == (is_asked ? 1 : 3));
  try {
    leave_if_stopped(session, "reading a checkpoint");
    FAIL("the start went on");
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::stopped_early);
    CHECK(error.met() == Met::by_every_rank);
    testing::expect_words(error.what(), {"reading a checkpoint", "no step", "same command"});
  }
}

TEST_CASE("errors of another kind leave what is read as they are") {
  CHECK_THROWS_AS(until_stopped([] { fail(ExitStatus::bad_data, "damaged"); }), Error);
}

}  // namespace espalier::train
