#pragma once
#include <string>
#include <utility>

#include "base/error.hpp"
#include "parallel/comm/session.hpp"

namespace espalier::parallel {

/// Runs `action` on rank 0 and gives its text to all ranks. An error of it is met by every rank.
template <class Action>
std::string on_rank_0(MpiSession& session, Action&& action) {
  std::string result;  // '=' and the text, or '!', the status and the message
  if (session.rank() == 0) {
    try {
      result = "=" + action();
    } catch (const Error& error) {
      result = fmt::format("!{:03}{}", static_cast<int>(error.status()), error.what());
    }
  }
  result = session.world().broadcast(std::move(result), 0);
  if (result[0] == '!')
    throw Error(static_cast<ExitStatus>(std::stoi(result.substr(1, 3))), result.substr(4),
                Met::by_every_rank);
  return std::move(result.erase(0, 1));
}

}  // namespace espalier::parallel
