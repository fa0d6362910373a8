#include "commands/failure.hpp"

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <new>
#include <system_error>
#include <thread>

#include "parallel/comm/session.hpp"

namespace espalier::commands {
namespace {

struct Failure {
  ExitStatus status;
  Met met;
  std::string message;
};

Failure classify(const std::exception& exception) {
  if (const auto* error = dynamic_cast<const Error*>(&exception))
    return {error->status(), error->met(), error->what()};
  if (dynamic_cast<const std::bad_alloc*>(&exception) != nullptr)
    return {ExitStatus::internal, Met::by_this_rank,
            "out of memory: lower training.micro_batch_size or training.loss_chunk_tokens, use "
            "more ranks, or give each rank more memory (espalier train input.toml --dry-run "
            "prints what it needs)"};
  if (dynamic_cast<const std::filesystem::filesystem_error*>(&exception) != nullptr)
    return {ExitStatus::io_error, Met::by_this_rank, exception.what()};
  // What fmt::print throws when standard output is full or closed.
  if (const auto* system = dynamic_cast<const std::system_error*>(&exception))
    for (const int code : {ENOSPC, EDQUOT, EFBIG, EBADF, EIO, EPIPE})
      if (system->code().value() == code)
        return {ExitStatus::io_error, Met::by_this_rank,
                fmt::format("standard output cannot be written: {}", std::strerror(code))};
  return {ExitStatus::internal, Met::by_this_rank,
          fmt::format("internal error: {}", exception.what())};
}

}  // namespace

ExitStatus report_failure(const parallel::MpiSession* session, const std::exception& exception) {
  const Failure failure = classify(exception);
  const int rank = session == nullptr ? 0 : session->rank();
  const bool alone = session == nullptr || session->size() == 1;
  const bool for_all = alone || failure.met == Met::by_every_rank;
  std::fflush(stdout);
  // Bad files are often met by every rank at once; then only the lowest rank prints, and its
  // abort ends the others before they say the same.
  if (!for_all && rank > 0) std::this_thread::sleep_for(std::chrono::milliseconds(300));
  if (!for_all)
    std::fprintf(stderr, "espalier: rank %d: error: %s\n", rank, failure.message.c_str());
  else if (rank == 0)
    std::fprintf(stderr, "espalier: error: %s\n", failure.message.c_str());
  std::fflush(stderr);
  if (!for_all) parallel::MpiSession::abort(static_cast<int>(failure.status));
  return failure.status;
}

ExitStatus status_with_output(ExitStatus status) {
  errno = 0;
  const bool is_whole = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (is_whole || status != ExitStatus::ok) return status;
  std::fprintf(stderr, "espalier: error: standard output could not be written%s%s\n",
               errno != 0 ? ": " : "", errno != 0 ? std::strerror(errno) : "");
  return ExitStatus::io_error;
}

}  // namespace espalier::commands
