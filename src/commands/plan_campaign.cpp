#include "commands/commands.hpp"

namespace espalier::commands {

ExitStatus plan_campaign(parallel::MpiSession&, config::Parameters&, bool) {
  fail(ExitStatus::internal, "not here yet");
}

}  // namespace espalier::commands
