#include "train/watchdog.hpp"

#include <fmt/chrono.h>
#include <signal.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <ctime>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/activity.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "io/event_log.hpp"
#include "train/failure_record.hpp"
#include "train/hang_watch.hpp"
#include "train/watchdog_socket.hpp"

namespace espalier::train {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_of(Clock::time_point time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

double now_s() {
  return seconds_of(Clock::now());
}

/// "14:02:11", so many seconds ago.
std::string time_of_day(double ago_s) {
  const std::time_t then = std::time(nullptr) - static_cast<std::time_t>(ago_s);
  return fmt::format("{:%H:%M:%S}", fmt::localtime(then));
}

/// Both ways: a rank's report, and rank 0's answer, in which only rank and token count.
struct Datagram {
  std::array<char, 8> magic;
  std::uint64_t token;
  std::int64_t rank, step;
  std::uint64_t changes;
  std::array<char, 128> activity;  ///< ends with 0
};
static_assert(std::is_trivially_copyable_v<Datagram> && sizeof(Datagram) == 168);
constexpr std::array<char, 8> kMagic{'e', 's', 'p', 'w', 'a', 't', 'c', 'h'};

std::uint64_t random_token() {
  std::uint64_t token = 0;
  if (::getrandom(&token, sizeof token, 0) != sizeof token)
    token = static_cast<std::uint64_t>(Clock::now().time_since_epoch().count()) ^
            (static_cast<std::uint64_t>(::getpid()) << 40);
  return token;
}

/// Where a hang is told beside standard error.
struct Place {
  std::filesystem::path run_directory;  ///< empty: nowhere
  std::int64_t job = 0;
};

/// The file system may be what hangs: in a thread of its own, and not for long.
void write_down(const Place& place, const Hang& hang, const std::string& message,
                std::int64_t step) {
  constexpr double kPatience_s = 5.0;
  if (place.run_directory.empty()) return;
  const auto is_done = std::make_shared<std::atomic<bool>>(false);
  std::thread([=] {
    try {
      io::EventLog(place.run_directory, place.job)
          .append({.kind = "hang",
                   .step = step,
                   .details = {{"ranks", hang.ranks},
                               {"host", hang.host},
                               {"activity", hang.activity},
                               {"seconds", hang.seconds}}});
      append_to_run_log(place.run_directory, message);
    } catch (const std::exception&) {  // standard error has it
    }
    *is_done = true;
  }).detach();
  for (double waited_s = 0.0; !*is_done && waited_s < kPatience_s; waited_s += 0.02)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
}

}  // namespace

struct Watchdog::Implementation {
  Implementation(parallel::MpiSession& session, double timeout)
      : rank(session.rank()),
        hosts(session.host_names()),
        timeout_s(timeout),
        interval_s(std::clamp(timeout / 10.0, 0.2, 10.0)),
        silence_s(std::min(3.0 * interval_s + 1.0, std::max(timeout, 2.0 * interval_s))) {
    std::string told;
    if (rank == 0) told = fmt::format("{} {}", token = random_token(), socket.addresses());
    told = session.world().broadcast(told, 0);
    const std::size_t blank = told.find(' ');
    token = std::stoull(told.substr(0, blank));
    rank_0 = WatchdogSocket::parse(told.substr(blank));
    thread = std::thread([this] { run(); });
  }
  ~Implementation() {
    is_over = true;
    socket.wake();
    thread.join();
  }

  void run() {
    sigset_t all;  // signals are for the main thread
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    rank == 0 ? watch() : report();
  }

  // ---- rank 0 ----

  void watch() {
    HangWatch ranks(hosts, timeout_s, silence_s, now_s());
    for (double last_s = now_s(); !is_over;) {
      Datagram datagram{};
      const auto from = socket.receive(&datagram, sizeof datagram, interval_s);
      const double time_s = now_s();
      // This process was stopped itself, or the machine was.
      if (time_s - last_s > 2.0 * interval_s + 1.0) ranks.pause(time_s - last_s);
      last_s = time_s;
      if (from && is_of_this_job(datagram)) {
        datagram.activity.back() = '\0';
        ranks.heard(datagram.rank, {datagram.activity.data(), datagram.step, datagram.changes},
                    time_s);
        socket.send(&datagram, sizeof datagram, *from);
      }
      const activity::Now mine = activity::now();
      ranks.heard(0, {mine.name, mine.step, mine.changes}, time_s);
      if (const auto hang = ranks.look(time_s, time_of_day)) end_job(*hang);
    }
  }

  // ---- the others ----

  void report() {
    double answered_s = 0.0, changed_s = now_s();  // 0: never
    std::uint64_t changes = 0;
    for (double last_s = now_s(); !is_over;) {
      const activity::Now mine = activity::now();
      Datagram datagram{.magic = kMagic,
                        .token = token,
                        .rank = rank,
                        .step = mine.step,
                        .changes = mine.changes,
                        .activity = {}};
      std::strncpy(datagram.activity.data(), mine.name, datagram.activity.size() - 1);
      // Whichever address of rank 0 answers is the one from then on.
      for (const sockaddr_in& address : rank_0) socket.send(&datagram, sizeof datagram, address);
      for (const double end_s = now_s() + interval_s; !is_over && now_s() < end_s;) {
        Datagram answer{};
        const auto from = socket.receive(&answer, sizeof answer, end_s - now_s());
        if (!from || !is_of_this_job(answer) || answer.rank != rank) continue;
        answered_s = now_s();
        rank_0 = {*from};
      }
      const double time_s = now_s(), gap_s = time_s - last_s;
      last_s = time_s;
      if (mine.changes != std::exchange(changes, mine.changes)) changed_s = time_s;
      if (gap_s > 2.0 * interval_s + 1.0) {
        changed_s += gap_s;
        answered_s += answered_s > 0.0 ? gap_s : 0.0;
      }
      // The lowest rank speaks first, and ends the others.
      const double patience_s =
          timeout_s + 2.0 * interval_s + 1.0 + 0.2 * static_cast<double>(std::min(rank - 1, 20));
      if (answered_s > 0.0 && time_s - changed_s >= patience_s && time_s - answered_s >= silence_s)
        end_job({.ranks = {0},
                 .host = hosts.front(),
                 .activity = "",
                 .seconds = time_s - changed_s,
                 .text = fmt::format("no progress for {}: rank 0 ({}) is not heard since {}; rank "
                                     "{} ({}) is in {} of step {}",
                                     human_duration(time_s - changed_s), hosts.front(),
                                     time_of_day(time_s - answered_s), rank,
                                     hosts[static_cast<std::size_t>(rank)], mine.name, mine.step)});
    }
  }

  bool is_of_this_job(const Datagram& datagram) const {
    return datagram.magic == kMagic && datagram.token == token && datagram.rank > 0 &&
           datagram.rank < static_cast<std::int64_t>(hosts.size());
  }

  [[noreturn]] void end_job(const Hang& hang) {
    constexpr auto kPatience = std::chrono::seconds(10);
    const std::string message = fmt::format(
        "espalier: error: {} (run.hang_timeout = {}). The job ends with status 70; started again "
        "it "
        "goes on from the last complete checkpoint. Look at {} first: a stopped or dead process, a "
        "file system that does not answer, a fault of the network",
        hang.text, timeout_s, hang.host);
    // Not through stdio, whose locks a thread that hangs may hold.
    const std::string line = message + "\n";
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
    Place told;
    {
      const std::lock_guard lock(mutex);
      told = place;
    }
    write_down(told, hang, message, std::max<std::int64_t>(activity::now().step - 1, 0));
    constexpr int kStatus = static_cast<int>(ExitStatus::internal);
    std::thread([] { parallel::MpiSession::abort(kStatus); }).detach();
    std::this_thread::sleep_for(kPatience);
    ::_exit(kStatus);  // then the launcher ends the others
  }

  const int rank;
  const std::vector<std::string> hosts;
  const double timeout_s, interval_s, silence_s;
  std::uint64_t token = 0;
  WatchdogSocket socket;
  std::vector<sockaddr_in> rank_0;
  std::atomic<bool> is_over{false};
  std::mutex mutex;
  Place place;  ///< under the mutex
  std::thread thread;
};

Watchdog::Watchdog(parallel::MpiSession& session, double timeout_s)
    : implementation_(std::make_unique<Implementation>(session, timeout_s)) {}

Watchdog::~Watchdog() = default;

void Watchdog::tell_in(const std::filesystem::path& run_directory, std::int64_t job) {
  const std::lock_guard lock(implementation_->mutex);
  implementation_->place = {run_directory, job};
}

}  // namespace espalier::train
