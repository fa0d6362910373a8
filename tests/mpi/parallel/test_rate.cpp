// Rates of the collectives, printed and not judged: mpirun -n 2 mpi_parallel "[.rate]".
#include <catch2/catch.hpp>
#include <chrono>
#include <functional>
#include <iostream>

#include "device/view.hpp"
#include "rank_data.hpp"

using namespace espalier;
using namespace espalier::testing;
using device::view_of;

namespace {

/// Best of several runs, slowest rank, in seconds.
double best_time(parallel::Communicator& group, const std::function<void()>& body) {
  double best = 1.0e9;
  for (int run = 0; run < 25; ++run) {
    group.barrier();
    const auto begin = std::chrono::steady_clock::now();
    body();
    std::vector<double> seconds{
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count()};
    group.all_reduce_max(seconds);
    best = std::min(best, seconds[0]);
  }
  return best;
}

}  // namespace

TEST_CASE("rates of the collectives", "[.rate]") {
  for (std::int64_t limit : {1 << 16, 1 << 18, 1 << 20, 1 << 22}) {
    const auto group = world_with_limit(limit);
    const std::int64_t n = group->size();
    for (std::int64_t bytes :
         {std::int64_t{1} << 14, std::int64_t{1} << 22, std::int64_t{1} << 26}) {
      std::vector<float> data(static_cast<std::size_t>(bytes / 4), 0.0F);
      std::vector<float> other(data);
      const auto view = view_of(data.data(), n, bytes / 4 / n);
      const auto half = view_of(data.data(), n, bytes / 4 / n);
      const auto mine = view.row_range(group->rank(), 1);
      const auto print = [&](const char* name, double seconds) {
        if (group->rank() == 0)
          std::cout << "limit " << (limit >> 10) << " KiB, " << (bytes >> 10) << " KiB, " << name
                    << ": " << 1.0e6 * seconds << " us, "
                    << static_cast<double>(bytes) / seconds * 1.0e-9
                    << " GB/s of the whole buffer\n";
      };
      print("memcpy", best_time(*group, [&] {
              std::memcpy(other.data(), data.data(), static_cast<std::size_t>(bytes));
            }));
      print("reduce-scatter f32",
            best_time(*group, [&] { group->reduce_scatter_sum(mine, view); }));
      print("all-gather", best_time(*group, [&] { group->all_gather(view, mine); }));
      print("all-reduce f32", best_time(*group, [&] { group->all_reduce_sum(half); }));
      const device::View bf{data.data(), DType::bf16, n, bytes / 2 / n, bytes / 2 / n};
      print("all-reduce bf16", best_time(*group, [&] { group->all_reduce_sum(bf); }));
      print("MPI_Allreduce f32", best_time(*group, [&] {
              MPI_Allreduce(MPI_IN_PLACE, data.data(), static_cast<int>(bytes / 4), MPI_FLOAT,
                            MPI_SUM, MPI_COMM_WORLD);
            }));
    }
  }
}
