// Commands whose own file is not there yet: each says so and ends.
#include "commands/commands.hpp"

namespace espalier::commands {
namespace {

ExitStatus not_there(std::string_view command) {
  throw Error(ExitStatus::internal,
              fmt::format("the command {} is not part of this build", command), Met::by_every_rank);
}

}  // namespace

ExitStatus tokenize(parallel::MpiSession&, config::Parameters&, bool) {
  return not_there("tokenize");
}

}  // namespace espalier::commands
