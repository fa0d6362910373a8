#pragma once
#include <cstdint>
#include <memory>
#include <type_traits>

namespace espalier {

/// A non-owning reference to a callable: the loop bodies below cross one translation unit
/// boundary per chunk, so that Kokkos is compiled once and kernels keep their own inner loops.
template <class Signature>
class FunctionRef;
template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>)
      FunctionRef(F&& f)  // NOLINT: implicit, as a function parameter
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(args...);
        }) {}
  R operator()(Args... args) const { return call_(object_, args...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

/// Owns the host threads (Kokkos with OpenMP) for the life of the program. One per process;
/// created before any loop and destroyed after the last. num_threads = 0: OMP_NUM_THREADS, else
/// the cores this process may run on.
class HostRuntime {
 public:
  explicit HostRuntime(int num_threads = 0);
  ~HostRuntime();
  HostRuntime(const HostRuntime&) = delete;
  HostRuntime& operator=(const HostRuntime&) = delete;
};

int num_host_threads();

/// body(begin, end) over [0, count) split evenly into at most one range per thread; ranges are
/// multiples of `grain` (the last may be shorter). Call it from the main thread only.
void host_for_ranges(std::int64_t count, std::int64_t grain,
                     FunctionRef<void(std::int64_t begin, std::int64_t end)> body);

/// body(task) for every task in [0, count), handed out dynamically, lowest first: for tasks of
/// unequal length. A task's result must not depend on which thread runs it.
void host_for_tasks(std::int64_t count, FunctionRef<void(std::int64_t task)> body);

/// The sum of body(begin, end) over slices of `slice` elements, added in index order in double
/// precision: the same bits for any number of threads.
double host_sum(std::int64_t count, std::int64_t slice,
                FunctionRef<double(std::int64_t begin, std::int64_t end)> body);

}  // namespace espalier
