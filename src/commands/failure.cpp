#include "commands/failure.hpp"

#include <cstdio>
#include <new>

#include "parallel/session.hpp"

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
  if (!for_all)
    std::fprintf(stderr, "espalier: rank %d: error: %s\n", rank, failure.message.c_str());
  else if (rank == 0)
    std::fprintf(stderr, "espalier: error: %s\n", failure.message.c_str());
  std::fflush(stderr);
  if (!for_all) parallel::MpiSession::abort(static_cast<int>(failure.status));
  return failure.status;
}

}  // namespace espalier::commands
