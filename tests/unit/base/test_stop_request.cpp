#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <ctime>
#include <functional>
#include <initializer_list>
#include <string>

#include "base/stop_request.hpp"

using namespace espalier;

namespace {

constexpr int kWell = 17;

/// What waitpid tells of a process that does this and then ends with kWell.
int status_of(const std::function<void()>& action) {
  const pid_t child = fork();
  if (child == 0) {
    action();
    _exit(kWell);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return status;
}

bool ends_well(const std::function<void()>& action) {
  const int status = status_of(action);
  return WIFEXITED(status) && WEXITSTATUS(status) == kWell;
}

bool ends_by(int signal, const std::function<void()>& action) {
  const int status = status_of(action);
  return WIFSIGNALED(status) && WTERMSIG(status) == signal;
}

void sleep_for(long ms) {
  timespec left{.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1'000'000};
  while (nanosleep(&left, &left) != 0) {
  }
}

}  // namespace

TEST_CASE("signals ask to stop or to save") {
  const StopSignals signals;
  CHECK(!stop_requested());
  CHECK(stop_signal_name() == std::string());
  std::raise(SIGUSR1);
  std::raise(SIGUSR1);
  CHECK(num_save_requests() == 2);
  CHECK(!stop_requested());
  std::raise(SIGUSR2);
  CHECK(stop_requested());
  CHECK(stop_signal_name() == std::string("SIGUSR2"));
  const StopSignals inner;  // keeps what has come
  CHECK(num_save_requests() == 2);
  CHECK(stop_requested());
}

TEST_CASE("the outermost forgets what came before") {
  { const StopSignals before; }
  const StopSignals signals;
  CHECK(!stop_requested());
  CHECK(num_save_requests() == 0);
}

TEST_CASE("a second SIGTERM or SIGINT ends the process, but a duplicate does not") {
  for (const int first : {SIGTERM, SIGINT})
    for (const int second : {SIGTERM, SIGINT}) {
      CHECK(ends_well([&] {
        const StopSignals signals;
        std::raise(first);
        std::raise(second);
        std::raise(first);
      }));
      CHECK(ends_by(second, [&] {
        const StopSignals signals;
        std::raise(first);
        sleep_for(1010);
        std::raise(second);
      }));
    }
}

TEST_CASE("SIGUSR2 may come often, and a SIGTERM after it is the first") {
  CHECK(ends_well([] {
    const StopSignals signals;
    std::raise(SIGUSR2);
    sleep_for(1010);
    std::raise(SIGUSR2);
    std::raise(SIGTERM);
    if (stop_signal_name() != std::string("SIGUSR2")) _exit(1);
  }));
}

TEST_CASE("what has no checkpoint is ended by a signal to stop and not by one to save") {
  CHECK(ends_by(SIGTERM, [] {
    {
      const StopSignals signals;
      std::raise(SIGTERM);
    }
    end_if_stop_requested();
  }));
  CHECK(ends_by(SIGUSR2, [] {
    { const StopSignals signals; }
    end_if_stop_requested();
    std::raise(SIGUSR2);
  }));
  CHECK(ends_well([] {
    { const StopSignals signals; }
    std::raise(SIGUSR1);
  }));
}
