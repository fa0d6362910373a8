#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

#include "support/expect_error.hpp"
#include "train/device_choice.hpp"

using namespace espalier;
using namespace espalier::testing;
using device::Backend;
using device::Gpu;
using train::assign_gpus;
using train::VisibleGpus;

namespace {

using Ranks = std::vector<VisibleGpus>;
using Ordinals = std::vector<int>;

Ranks on_one_node(int num_ranks, const std::vector<std::string>& uuids) {
  return Ranks(static_cast<std::size_t>(num_ranks), VisibleGpus{"node1", uuids});
}

}  // namespace

TEST_CASE("the ranks of a node take its GPUs in order") {
  CHECK(assign_gpus(on_one_node(3, {"a", "b", "c", "d"}), false) == Ordinals{0, 1, 2});
  // Ranks that are dealt to the nodes in turn.
  const std::vector<std::string> first{"a", "b"}, second{"c", "d"};
  CHECK(assign_gpus(Ranks{{"n1", first}, {"n2", second}, {"n1", first}, {"n2", second}}, false) ==
        Ordinals{0, 0, 1, 1});
}

TEST_CASE("a GPU that Slurm shows to one rank alone is its own") {
  CHECK(assign_gpus(Ranks{{"n", {"a"}}, {"n", {"b"}}, {"n", {"c"}}}, false) == Ordinals{0, 0, 0});
  // The same GPU may have another ordinal for each rank.
  CHECK(assign_gpus(Ranks{{"n", {"a", "b"}}, {"n", {"b", "a"}}}, false) == Ordinals{0, 0});
  // Rank 0 moves on, because rank 1 has no other.
  CHECK(assign_gpus(Ranks{{"n", {"a", "b"}}, {"n", {"a"}}}, false) == Ordinals{1, 0});
  CHECK(assign_gpus(Ranks{{"n", {"a", "b"}}, {"n", {"b", "c"}}, {"n", {"a"}}, {"n", {"b", "d"}}},
                    false) == Ordinals{1, 1, 0, 1});
}

TEST_CASE("more ranks than GPUs are refused on every rank, unless they may share") {
  const std::string text = message_of([] { assign_gpus(on_one_node(5, {"a", "b"}), false); });
  expect_words(text, {"node1", "5 ranks", "2 GPUs", "device.share_gpus"});
  // The same uuid is the same GPU, whatever its ordinal.
  expect_words(message_of([] {
                 assign_gpus(Ranks{{"n", {"a"}}, {"n", {"a"}}}, false);
               }),
               {"2 ranks", "1 GPU"});
  // Another node's GPUs are of no use.
  expect_words(message_of([] {
                 assign_gpus(Ranks{{"n1", {"a", "b"}}, {"n2", {"c"}}, {"n2", {"c"}}}, false);
               }),
               {"n2", "2 ranks"});

  CHECK(assign_gpus(on_one_node(5, {"a", "b"}), true) == Ordinals{0, 1, 0, 1, 0});
  CHECK(assign_gpus(Ranks{{"n", {"a"}}, {"n", {"a", "b"}}, {"n", {"a"}}}, true) ==
        Ordinals{0, 1, 0});
}

TEST_CASE("auto takes the hosts, with a reason, where no node has a GPU for each rank") {
  std::string why;
  CHECK(train::assign_gpus_or_host(on_one_node(2, {"a", "b"}), false, why) == Ordinals{0, 1});
  CHECK(why.empty());
  // Two ranks of a first trial on a machine with one GPU.
  CHECK(train::assign_gpus_or_host(on_one_node(2, {"a"}), false, why).empty());
  expect_words(why, {"node1", "2 ranks", "1 GPU", "device.share_gpus"});
  CHECK(train::assign_gpus_or_host(on_one_node(2, {"a"}), true, why) == Ordinals{0, 0});
  // A GPU without code is none: of another generation, or beside one that can be used.
  const VisibleGpus without_code{"n", {""}, "GPU 0 (old) has compute capability 7.0"};
  CHECK(train::assign_gpus_or_host(Ranks{without_code}, false, why).empty());
  expect_words(why, {"rank 0 on n", "compute capability 7.0"});
  CHECK(train::assign_gpus_or_host(Ranks{{"n", {"", "b"}}}, false, why) == Ordinals{1});
  CHECK(train::assign_gpus_or_host(on_one_node(2, {"", "b"}), false, why).empty());
  CHECK(train::assign_gpus_or_host(on_one_node(3, {"", "b"}), true, why) == Ordinals{1, 1, 1});
  // A driver that is too old shows no GPU, and is said; a machine without GPUs is as it should be.
  const VisibleGpus old_driver{"n", {}, "driver of CUDA 12.4", true};
  CHECK(train::assign_gpus_or_host(Ranks{old_driver}, false, why).empty());
  expect_words(why, {"rank 0 on n", "driver of CUDA 12.4"});
  CHECK(train::assign_gpus_or_host(Ranks{{"n", {}, "no driver"}}, false, why).empty());
  CHECK(why.empty());
  // No node has enough: the job is one for hosts.
  CHECK(train::assign_gpus_or_host(
            Ranks{{"n1", {"a"}}, {"n1", {"a"}}, {"n2", {}, "CUDA sees no GPU"}}, false, why)
            .empty());
  CHECK_FALSE(why.empty());
}

TEST_CASE("auto does not let a node that lost its GPU slow the others down") {
  std::string why;
  expect_words(message_of([&] {
                 train::assign_gpus_or_host(
                     Ranks{{"n1", {"a"}}, {"n2", {}, "CUDA sees no GPU"}, {"n3", {"c"}}}, false,
                     why);
               }),
               {"device.backend", "auto", "rank 1 on n2", "CUDA sees no GPU", "n3", "host"});
  expect_words(message_of([&] {
                 train::assign_gpus_or_host(
                     Ranks{{"n1", {"a", "b"}}, {"n1", {"a", "b"}}, {"n2", {"c"}}, {"n2", {"c"}}},
                     false, why);
               }),
               {"n2 has 2 ranks", "1 GPU", "n1"});
}

TEST_CASE("the host is chosen, and no GPU for auto where none is") {
  parallel::MpiSession session(nullptr, nullptr);
  config::DeviceParameters parameters;
  parameters.backend = "host";
  CHECK(train::choose_gpu(session, parameters) == nullptr);
  const std::string text = train::describe_devices(session, nullptr);
  const std::string who =
      session.size() == 1 ? "rank 0: " : fmt::format("ranks 0-{}: ", session.size() - 1);
  CHECK(num_lines(text) == 1);
  CHECK_THAT(text, Catch::StartsWith(who) && Catch::EndsWith(", host"));
  if (Gpu::count(Backend::cuda) > 0) return;
  parameters.backend = "auto";
  CHECK(train::choose_backend(session, parameters) == Backend::host);
  CHECK(train::choose_gpu(session, parameters) == nullptr);
}

TEST_CASE("cuda without a GPU ends every rank with the reason") {
  if (Gpu::count(Backend::cuda) > 0) return;
  parallel::MpiSession session(nullptr, nullptr);
  config::DeviceParameters parameters;
  parameters.backend = "cuda";
  const std::string text = message_of([&] { train::choose_gpu(session, parameters); });
  expect_words(text, {"device.backend", "cuda", "rank 0"});
  CHECK_THAT(text, Catch::Contains(Gpu::why_none(Backend::cuda)));
  session.world().barrier();  // nobody waits elsewhere
}

TEST_CASE("every rank of a node has an emulated GPU of its own") {
  parallel::MpiSession session(nullptr, nullptr);
  config::DeviceParameters parameters;
  parameters.backend = "emulated";
  const auto gpu = train::choose_gpu(session, parameters);
  REQUIRE(gpu != nullptr);
  CHECK(gpu->backend() == Backend::emulated);
  const auto uuids = session.world().all_gather(gpu->description().uuid);
  CHECK(std::set(uuids.begin(), uuids.end()).size() == uuids.size());
  const std::string text = train::describe_devices(session, gpu);
  CHECK(num_lines(text) == session.size());
  for (int rank = 0; rank < session.size(); ++rank)
    CHECK_THAT(text, Catch::Contains(fmt::format("rank {}: ", rank)) &&
                         Catch::Contains(fmt::format("GPU {} emulated GPU", rank)));
  device::Gemm gemm(gpu, nullptr);
  train::share_gemm_algorithms(session, gemm);  // the host's library has none
  CHECK(gemm.choices().empty());
}
