#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "plan/time/host_operator.hpp"
#include "plan/time/models.hpp"

using namespace espalier;

namespace {

/// S 8, D 4, whatever else.
config::Parameters input() {
  config::Parameters p;
  p.model.head_dim = 4;
  p.model.num_key_value_heads = 1;
  p.training.sequence_length = 8;
  p.training.dtype = "float32";
  p.parallel.data = 1;
  return p;
}

config::HardwareParameters host() {
  config::HardwareParameters hardware;
  hardware.name = "a host";
  hardware.kind = "cpu";
  hardware.copy_gbs = 10.0;
  hardware.operators = {
      {.name = "gemm forward",
       .gflops = 2.0,
       .overhead_us = 5.0,
       .dtype = "float32",
       .left_ps = 1000.0,
       .right_ps = 2000.0,
       .result_ps = 10000.0},
      {.name = "attention_forward",
       .gflops = 1.0,
       .overhead_us = 1.0,
       .dtype = "float32",
       .pair_ps = 10000.0,
       .row_ps = 100000.0,
       .element_ps = 1000.0},
      {.name = "rmsnorm_forward", .gbs = 1.0, .overhead_us = 3.0},
  };
  return hardware;
}

/// Attention of 16 queries in two sequences: 36 pairs each, 4 x 4 FLOPs a pair.
const device::Operation kAttention{"attention_forward"};
const device::PhaseCost kAttentionCost{.flops = 16.0 * 72.0, .bytes = 1.0, .calls = 1};

std::string error_of(const plan::StepCounts& counts, const config::Parameters& p,
                     const config::HardwareParameters& hardware) {
  try {
    plan::host_step_time(counts, p, hardware);
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::bad_configuration);
    CHECK(error.met() == Met::by_every_rank);
    return error.what();
  }
  FAIL("no error");
  return {};
}

}  // namespace

TEST_CASE("a product on a host costs its FLOPs, its three matrices and its call") {
  plan::StepCounts counts;
  counts.operations[{"gemm forward", 10, 20, 30}] = {
      .flops = 2 * 12000.0, .bytes = 2 * 4400.0, .calls = 2};
  const plan::StepTime time = plan::host_step_time(counts, input(), host());
  // 12,000 FLOPs: 6 us; 300 elements: 0.3 us; 600: 1.2 us; 200: 2 us; the call 5 us.
  CHECK(time.products == Approx(2 * 14.5e-6));
  CHECK(time.step() == Approx(time.products));
}

TEST_CASE("attention on a host costs pairs, queries and their elements") {
  plan::StepCounts counts;
  counts.operations[kAttention] = kAttentionCost;
  const plan::StepTime time = plan::host_step_time(counts, input(), host());
  // 1,152 FLOPs: 1.152 us; 72 pairs: 0.72 us; 16 queries: 1.6 us; 64 elements: 0.064 us; 1 us.
  CHECK(time.attention == Approx(4.536e-6));
}

TEST_CASE("attention inside documents has fewer pairs, also in the last, shorter one") {
  config::Parameters p = input();
  p.bench.document_tokens = 3;
  const auto pairs = [&] { return plan::call_of(kAttention, kAttentionCost, p).pairs; };
  CHECK(pairs() == Approx(72.0));  // nobody asked for a mask
  p.data.document_mask = true;
  CHECK(pairs() == Approx(2.0 * (6.0 + 6.0 + 3.0)));
  CHECK(plan::call_of(kAttention, kAttentionCost, p).queries == Approx(16.0));
  p.bench.document_tokens = 100;
  CHECK(pairs() == Approx(72.0));
  p.bench.document_tokens = 0;
  CHECK(pairs() == Approx(72.0));
}

TEST_CASE("an operator that was not measured goes at the rate of a copy") {
  plan::StepCounts counts;
  counts.operations[{"rmsnorm_forward"}] = {.flops = 1.0, .bytes = 4000.0, .calls = 4};
  counts.operations[{"cast"}] = {.flops = 0.0, .bytes = 10000.0, .calls = 1};
  CHECK(plan::host_step_time(counts, input(), host()).memory_bound ==
        Approx(4 * 3e-6 + 4e-6 + 1e-6));
}

TEST_CASE("what lies between the operations makes a step longer by its factor") {
  plan::StepCounts counts;
  counts.operations[{"cast"}] = {.flops = 0.0, .bytes = 10000.0, .calls = 1};
  config::HardwareParameters hardware = host();
  hardware.step_factor = 1.25;
  const plan::StepTime time = plan::host_step_time(counts, input(), hardware);
  CHECK(time.other == Approx(0.25e-6));
  CHECK(time.step() == Approx(1.25e-6));
}

TEST_CASE("collectives of a node go at the rates of their phases") {
  config::Parameters p = input();
  p.parallel.data = 2;
  config::HardwareParameters hardware = host();
  hardware.devices_per_node = 2;
  hardware.operators.push_back(
      {.name = "gradient communication", .gbs = 1.0, .overhead_us = 10.0, .dtype = "float32"});
  hardware.operators.push_back(
      {.name = "weight communication", .gbs = 2.0, .overhead_us = 20.0, .dtype = "float32"});
  plan::StepCounts counts;
  counts.collectives["data"] = {{"reduce_scatter", {.calls = 3, .bytes = 60000}},
                                {"all_gather", {.calls = 1, .bytes = 80000}},
                                {"all_reduce", {.calls = 1, .bytes = 2000}}};
  const plan::StepTime time = plan::host_step_time(counts, p, hardware);
  CHECK(time.data_exposed == Approx(30e-6 + 30e-6 + 20e-6 + 20e-6 + 10e-6 + 2e-6));
  CHECK(time.data_hidden == 0.0);
  CHECK(time.tensor_exposed == 0.0);
  CHECK(time.context_exposed == 0.0);
}

TEST_CASE("keys of a context group pass as pieces of a gradient where they were not measured") {
  config::Parameters p = input();
  p.parallel.context = 2;
  config::HardwareParameters hardware = host();
  hardware.devices_per_node = 2;
  hardware.operators.push_back(
      {.name = "gradient communication", .gbs = 1.0, .overhead_us = 10.0, .dtype = "float32"});
  plan::StepCounts counts;
  counts.collectives["context"] = {{"all_gather", {.calls = 2, .bytes = 60000}},
                                   {"reduce_scatter", {.calls = 1, .bytes = 80000}}};
  const plan::StepTime time = plan::host_step_time(counts, p, hardware);
  CHECK(time.context_exposed == Approx(20e-6 + 30e-6 + 10e-6 + 40e-6));
  CHECK(time.step() == time.context_exposed);
  hardware.operators.push_back(
      {.name = "context communication", .gbs = 2.0, .overhead_us = 1.0, .dtype = "float32"});
  CHECK(plan::host_step_time(counts, p, hardware).context_exposed ==
        Approx(2e-6 + 15e-6 + 1e-6 + 20e-6));
}

TEST_CASE("rates that a host lacks are named, with the command that measures them") {
  plan::StepCounts counts;
  counts.operations[{"gemm backward_weight", 1, 1, 1}] = {.flops = 2.0, .bytes = 1.0, .calls = 1};
  std::string message = error_of(counts, input(), host());
  CHECK_THAT(message, Catch::Contains("a host") && Catch::Contains("\"gemm backward_weight\"") &&
                          Catch::Contains("float32") && Catch::Contains("espalier bench --write"));
  // A rate of the other dtype is none.
  config::Parameters bf16 = input();
  bf16.training.dtype = "bfloat16";
  counts.operations = {{kAttention, kAttentionCost}};
  CHECK_THAT(error_of(counts, bf16, host()), Catch::Contains("\"attention_forward\" for bfloat16"));
  counts.operations = {{{"cast"}, {.flops = 0.0, .bytes = 1.0, .calls = 1}}};
  config::HardwareParameters slow = host();
  slow.copy_gbs = 0.0;
  CHECK_THAT(error_of(counts, input(), slow), Catch::Contains("copy_gbs"));
}

TEST_CASE("ranks that a host was not measured with need what joins them") {
  config::Parameters p = input();
  p.parallel.data = 2;
  plan::StepCounts counts;
  counts.collectives["data"] = {{"reduce_scatter", {.calls = 1, .bytes = 100}}};
  CHECK_THAT(error_of(counts, p, host()), Catch::Contains("network_gbs"));
  config::HardwareParameters pair = host();
  pair.devices_per_node = 2;
  CHECK_THAT(error_of(counts, p, pair), Catch::Contains("\"gradient communication\""));
}

TEST_CASE("a host is planned at the SIMD level that it was measured with") {
  config::HardwareParameters hardware = host();
  hardware.simd = "avx512";
  config::Parameters p = input();
  CHECK_NOTHROW(plan::host_step_time({}, p, hardware));
  p.device.simd = "avx512";
  CHECK_NOTHROW(plan::host_step_time({}, p, hardware));
  p.device.simd = "avx2";
  CHECK_THAT(error_of({}, p, hardware),
             Catch::Contains("device.simd = \"avx2\"") && Catch::Contains("avx512"));
}

TEST_CASE("the rate with the coefficients of a call takes what they say") {
  const plan::HostCall calls[] = {
      {.name = "gemm forward", .m = 3, .n = 5, .k = 7, .flops = 210, .bytes = 1},
      {.name = "attention_backward",
       .flops = 100,
       .bytes = 1,
       .head_dim = 8,
       .pairs = 10,
       .queries = 4},
      {.name = "adamw", .flops = 3, .bytes = 50}};
  for (const plan::HostCall& call : calls) {
    INFO(call.name);
    const std::vector<double> terms = plan::terms_of(call);
    std::vector<double> coefficients;
    double seconds = 0.0;
    for (const double term : terms) {
      coefficients.push_back(1e-9 * static_cast<double>(coefficients.size() + 1));
      seconds += coefficients.back() * term;
    }
    const config::OperatorRate rate = plan::rate_of(call, "bfloat16", coefficients);
    CHECK(rate.name == call.name);
    CHECK(rate.dtype == "bfloat16");
    CHECK(plan::seconds_of(call, rate) == Approx(seconds));
    // A term that nothing was found for costs nothing.
    const std::vector<double> none(terms.size(), 0.0);
    CHECK(plan::seconds_of(call, plan::rate_of(call, "", none)) == 0.0);
  }
}
