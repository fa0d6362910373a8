// Ranks that would choose other matrix algorithms, over the imitated CUDA and cuBLASLt of
// tests/unit/device_cuda.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "device/arena.hpp"
#include "device/context.hpp"
#include "device/stopwatch.hpp"
#include "support/expect_error.hpp"
#include "support/scratch_folder.hpp"
#include "train/device_choice.hpp"
#include "unit/device_cuda/imitated_cuda.hpp"

using namespace espalier;
using namespace espalier::testing;

namespace {

/// A rank on a node of its own, whose algorithms take other times than rank 0's: 1 ms the third,
/// on the others the second.
struct Rank {
  Rank() {
    setenv("XDG_CACHE_HOME", cache.path().c_str(), /*overwrite=*/1);
    *imitated_cublaslt() = {};
    if (!is_first()) imitated_cublaslt()->milliseconds[1] = 0.25;
  }
  ~Rank() { *imitated_cublaslt() = {}; }
  bool is_first() const { return session.rank() == 0; }
  std::vector<std::string> all_algorithms(device::Gemm& gemm) {
    return session.world().all_gather(gemm.choices());
  }

  parallel::MpiSession session{nullptr, nullptr};
  ScratchFolder cache;
  std::shared_ptr<device::Gpu> gpu = device::Gpu::open(device::Backend::cuda, 0);
};

/// A context that multiplies (8, cols) by (cols, cols).
struct Job {
  explicit Job(Rank& rank) : context(rank.gpu) {}
  /// The number of the algorithm that a second product takes.
  int algorithm_for(std::int64_t cols) {
    device::Arena arena = device::Arena::backed("operands", 1 << 16, context.shared_gpu());
    const device::View x = arena.allocate("x", DType::f32, 8, cols);
    const device::View w = arena.allocate("w", DType::f32, cols, cols);
    const device::View y = arena.allocate("y", DType::f32, 8, cols);
    context.gemm().forward(y, x, w);  // chooses
    device::Stopwatch watch(context.gpu(), context.queue().stream);
    watch.start();
    context.gemm().forward(y, x, w);
    const double ms = 1e3 * watch.stop_s();
    for (int i = 0; i < 4; ++i)
      if (ms == Approx(imitated_cublaslt()->milliseconds[i])) return i;
    return -1;
  }
  device::Context context;
};

}  // namespace

TEST_CASE("ranks that measured other times take rank 0's choices") {
  Rank rank;
  Job job(rank);
  CHECK(job.algorithm_for(16) == (rank.is_first() ? 2 : 1));
  const std::vector<std::string> before = rank.all_algorithms(job.context.gemm());
  if (rank.session.size() > 1) CHECK(before[1] != before[0]);
  train::share_gemm_algorithms(rank.session, job.context.gemm());
  for (const std::string& choices : rank.all_algorithms(job.context.gemm()))
    CHECK(choices == before[0]);
  CHECK(job.algorithm_for(16) == 2);
  // A product that was not met before is not measured, which each rank would do for itself.
  CHECK(job.algorithm_for(32) == 0);
}

TEST_CASE("what a rank kept from an earlier run gives way to rank 0's choices") {
  Rank rank;
  const bool first_has_store = GENERATE(true, false);
  const bool others_look = GENERATE(true, false);  // into their stores, before they share
  CAPTURE(first_has_store, others_look);
  if (rank.is_first() == first_has_store) {
    Job earlier(rank);
    earlier.algorithm_for(16);
    earlier.context.gemm().save_algorithms();
  }
  Job job(rank);
  if (rank.is_first() || others_look) CHECK(job.algorithm_for(16) == (rank.is_first() ? 2 : 1));
  train::share_gemm_algorithms(rank.session, job.context.gemm());
  CHECK(job.algorithm_for(16) == 2);
}

TEST_CASE("a run that goes on takes its checkpoint's choices, whatever the machine has kept") {
  Rank rank;
  const ScratchFolder checkpoint;
  const auto folder =
      std::filesystem::path(rank.session.world().broadcast(checkpoint.path().string(), 0));
  {
    Job job(rank);
    job.algorithm_for(16);
    train::share_gemm_algorithms(rank.session, job.context.gemm());
    CHECK(job.algorithm_for(16) == 2);
    const auto kept = train::gemm_algorithms_to_keep(job.context.gemm());
    REQUIRE(kept.size() == 1);
    if (rank.is_first()) std::ofstream(folder / kept.front().name) << kept.front().bytes;
  }
  rank.session.world().barrier();
  // The cache is lost, or another run has filled it meanwhile; the times are others in any case.
  const ScratchFolder other_cache;
  setenv("XDG_CACHE_HOME", other_cache.path().c_str(), /*overwrite=*/1);
  imitated_cublaslt()->milliseconds[0] = 0.125;
  if (GENERATE(true, false)) {
    Job other(rank);
    CHECK(other.algorithm_for(16) == 0);
    other.context.gemm().save_algorithms();
  }
  Job job(rank);
  job.algorithm_for(16);  // as the measurement of the peak does before
  train::resume_gemm_algorithms(rank.session, job.context.gemm(), folder);
  CHECK(job.algorithm_for(16) == 2);
  CHECK(job.algorithm_for(24) == 0);  // new: another grid's
  train::share_gemm_algorithms(rank.session, job.context.gemm());
  CHECK(job.algorithm_for(16) == 2);
  CHECK(job.algorithm_for(24) == 0);
  CHECK(train::gemm_algorithms_to_keep(job.context.gemm()).front().bytes.find("24") !=
        std::string::npos);

  Job untuned(rank);
  untuned.context.gemm().set_tuning(false);
  train::resume_gemm_algorithms(rank.session, untuned.context.gemm(), folder);
  CHECK(train::gemm_algorithms_to_keep(untuned.context.gemm()).empty());

  // Algorithms of another library mean nothing: all is measured.
  imitated_cublaslt()->version = 130102;
  Job newer(rank);
  train::resume_gemm_algorithms(rank.session, newer.context.gemm(), folder);
  CHECK(newer.algorithm_for(16) == 0);
  rank.session.world().barrier();  // before rank 0's folder goes
}

TEST_CASE("what rank 0 had no memory to measure is measured nowhere") {
  Rank rank;
  Job job(rank);
  void* taken = nullptr;
  if (rank.is_first())  // but for the operands
    taken = rank.gpu->allocate("nearly all", rank.gpu->free_bytes() - (std::int64_t{72} << 10));
  CHECK(job.algorithm_for(48) == (rank.is_first() ? 0 : 1));
  rank.gpu->release(taken);
  train::share_gemm_algorithms(rank.session, job.context.gemm());
  CHECK(job.algorithm_for(48) == 0);
}

TEST_CASE("another version of the library on a node is refused by every rank, with a remedy") {
  Rank rank;
  if (rank.session.size() == 1) return;
  if (rank.session.rank() == 1) imitated_cublaslt()->version = 130102;
  {
    Job job(rank);
    const std::string text =
        message_of([&] { train::require_same_products(rank.session, job.context.gemm()); });
    expect_words(text, {"rank 0", "cuBLASLt 13.0.0", "rank 1", "cuBLASLt 13.1.2", "imitated GPU",
                        "LD_LIBRARY_PATH", "device.tune_gemm = false"});
  }
  Job untuned(rank);
  untuned.context.gemm().set_tuning(false);
  train::require_same_products(rank.session, untuned.context.gemm());
  train::share_gemm_algorithms(rank.session, untuned.context.gemm());
  CHECK(untuned.algorithm_for(16) == 0);
}
