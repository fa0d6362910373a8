#pragma once
#include <functional>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "parallel/comm/session.hpp"
#include "train/run_control.hpp"

namespace espalier::train {

/// Says "stopped <why> after <done> (status 75)" on rank 0 and returns that status. `done`: what is
/// done and kept, and how to go on.
ExitStatus stopped_early(train::StopReason reason, const std::string& done);

// A start may take long: checksums of all shards, a checkpoint of terabytes. What is asked for then
// is answered by an Error of stopped_early that every rank meets: there is nothing to keep.

/// Throws it on this rank alone when that was asked to stop, for until_stopped: between parts of
/// what takes long.
void require_not_stopped(std::string_view doing);
/// Runs `action` until its end or until it leaves by require_not_stopped. leave_if_stopped follows.
void until_stopped(const std::function<void()>& action);
/// Whether any rank was asked to stop. Collective.
bool any_asked_to_stop(parallel::MpiSession& session);
/// Throws it on every rank when any was asked to stop. `doing`: "reading a checkpoint". Collective.
void leave_if_stopped(parallel::MpiSession& session, std::string_view doing);
/// What `action` returns or, when every rank left it by leave_if_stopped, stopped_early, with a
/// line: what was asked for is no error.
ExitStatus status_unless_stopped(const std::function<ExitStatus()>& action);

}  // namespace espalier::train
