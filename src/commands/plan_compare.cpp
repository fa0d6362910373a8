#include "commands/commands.hpp"

namespace espalier::commands {

ExitStatus plan_compare(parallel::MpiSession&, std::span<const std::string>,
                        std::span<const std::string>, bool) {
  fail(ExitStatus::internal, "not here yet");
}

}  // namespace espalier::commands
