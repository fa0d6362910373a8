#pragma once
#include <cstdint>
#include <string>

namespace espalier {

/// What this process is doing, so that a watchdog or a status file can say it at any moment. Set by
/// the main thread as it goes (the profiler does so for its phases), read by any thread.
namespace activity {

/// From now on the process does this. `name` is a literal, as people read it: "attention",
/// "reading a checkpoint". Costs a few nanoseconds.
void enter(const char* name);
/// A name that is not a literal: the same text, which stays until the process ends. For names of
/// which there are few.
const char* keep(const std::string& name);
/// The step that is being computed, from 1; 0: none.
void set_step(std::int64_t step);

/// Does this until the end of the scope, then what was done before again.
class Scope {
 public:
  explicit Scope(const char* name);
  ~Scope();
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  const char* outer_;
};

struct Now {
  const char* name;       ///< "starting" before anything is entered
  std::int64_t step;      ///< as set_step said
  std::uint64_t changes;  ///< grows with every enter: a process whose number stands still hangs
};
Now now();

}  // namespace activity
}  // namespace espalier
