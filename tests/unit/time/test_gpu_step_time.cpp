#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "model/architecture.hpp"
#include "plan/flops.hpp"
#include "plan/memory_plan.hpp"
#include "plan/time/gpu_rates.hpp"
#include "plan/time/layout_time.hpp"
#include "plan/time/overlap.hpp"
#include "support/parameters.hpp"

using namespace espalier;

namespace {

/// 100 multiprocessors, 100 TFLOP/s, memory and links that cost nothing.
config::HardwareParameters hundred() {
  config::HardwareParameters h;
  h.name = "test";
  h.kind = "gpu";
  h.compute_capability = 90;
  h.multiprocessors = 100;
  h.peak_bf16_tflops = 125.0;
  h.product_bf16_tflops = 100.0;
  h.product_fp8_tflops = 200.0;
  h.peak_fp32_tflops = 10.0;
  h.attention_forward_tflops = 80.0;
  h.attention_backward_tflops = 60.0;
  h.attention_forward_half = 1000.0;
  h.copy_gbs = 1e9;
  h.devices_per_node = 8;
  h.link_gbs = 1e9;
  h.network_gbs = 1e9;
  return h;
}

config::HardwareParameters device_named(const std::string& name) {
  return plan::read_hardware(ESPALIER_SOURCE_DIR "/inputs/devices/" + name + ".toml");
}

/// Qwen3-8B resolved for a grid.
config::Parameters qwen3_8b_on(std::int64_t tensor, std::int64_t data) {
  config::Parameters p = testing::qwen3_8b();
  p.parallel.tensor = tensor;
  p.parallel.data = data;
  p.training.micro_batch_size = 1;
  p.training.global_batch_size = 4 * data;
  p.training.dtype = "bfloat16";
  return p;
}

double step_seconds(const config::Parameters& p, const config::HardwareParameters& h) {
  return plan::predict_step(p, h).step();
}

}  // namespace

TEST_CASE("a product takes whole waves of whole tiles") {
  const plan::GpuRates rates(hundred(), "bfloat16");
  const double ideal = 2.0 * 1280 * 2560 * 1024 / 100e12;
  // 10 x 10 tiles of 128 x 256 on 100 multiprocessors.
  CHECK(rates.product(1280, 2560, 1024, 0.0) == Approx(ideal).epsilon(1e-3));
  CHECK(rates.product(2560, 1280, 1024, 0.0) == Approx(ideal).epsilon(1e-3));
  // A row of a tile is a tile.
  CHECK(rates.product(1153, 2560, 1024, 0.0) == Approx(ideal).epsilon(1e-3));
  // 110 tiles would be two waves; 220 of half the size, at 0.9 of the rate, are three.
  CHECK(rates.product(1408, 2560, 1024, 0.0) == Approx(3 * 0.5 / 0.9 * ideal).epsilon(1e-3));
  // 20 tiles, k in four parts of 512: 80 of them are one wave.
  CHECK(rates.product(640, 1024, 2048, 0.0) == Approx(2.0 * 128 * 256 * 512 / 1e12).epsilon(1e-2));
  CHECK(rates.product(1280, 2560, 1024, 0.0, plan::GpuRates::Precision::fp8) ==
        Approx(ideal / 2.0).epsilon(1e-3));
}

TEST_CASE("a product of few operations is as long as its bytes, and every call costs a launch") {
  auto h = hundred();
  h.copy_gbs = 1000.0;
  h.overhead_us = 5.0;
  const plan::GpuRates rates(h, "bfloat16");
  const double bytes = 2.0 * (100000.0 * 8 + 8.0 * 100000 + 1e10);
  CHECK(rates.product(100000, 100000, 8, bytes) == Approx(bytes / 1e12 + 5e-6));
  CHECK(rates.memory_bound(1e9) == Approx(1e9 / (0.9 * 1e12)));
}

TEST_CASE("no product is faster than the best that was measured") {
  const plan::GpuRates rates(hundred(), "bfloat16");
  for (const std::int64_t m : {1, 100, 128, 1000, 4096, 8191})
    for (const std::int64_t n : {8, 256, 2560, 151936})
      for (const std::int64_t k : {8, 512, 4096, 12288})
        CHECK(rates.product(m, n, k, 0.0) >=
              0.9999 * 2.0 * static_cast<double>(m * n * k) / 100e12);
}

TEST_CASE("products take what was measured") {
  struct Measured {
    std::int64_t m, n, k;
    double tflops;
  };
  const auto check = [](const config::HardwareParameters& h, const Measured& p, double within) {
    const auto m = static_cast<double>(p.m), n = static_cast<double>(p.n),
               k = static_cast<double>(p.k);
    const double seconds =
        plan::GpuRates(h, "bfloat16").product(p.m, p.n, p.k, 2.0 * (m * k + k * n + m * n));
    CAPTURE(h.name, p.m, p.n, p.k);
    CHECK(2e-12 * m * n * k / seconds == Approx(p.tflops).epsilon(within));
  };
  // XLA's table for an H100 (xla/service/gpu/model/matmul_interpolator_data.h), short runs, for
  // which the power does not matter. Of its products with k = 256, which no layer has, the model
  // knows nothing: they have two thirds of the rate that it gives them.
  auto h100 = device_named("h100");
  h100.sustained_share = 1.0;
  for (const Measured& p : {Measured{4096, 2048, 4096, 758}, Measured{1024, 4096, 4096, 738},
                            Measured{2048, 2048, 4096, 738}, Measured{4096, 4096, 1024, 677},
                            Measured{512, 4096, 4096, 644}, Measured{1024, 4096, 2048, 634},
                            Measured{4096, 2048, 1024, 593}, Measured{1024, 1024, 4096, 470},
                            Measured{2048, 512, 4096, 451}, Measured{4096, 256, 4096, 376},
                            Measured{2048, 1024, 1024, 373}, Measured{256, 2048, 2048, 216}})
    check(h100, p, 0.3);
  // A published sweep on a B300, whose clocks let it vary by 10 to 20 %.
  check(device_named("b300"), {8192, 2880, 2880, 1375}, 0.15);
}

TEST_CASE("attention runs as the published tables say") {
  // cuDNN on an H200, causal, 64 heads of 128: TFLOP/s forward and backward by length.
  auto h200 = device_named("h200");
  h200.sustained_share = 1.0;  // short runs
  const plan::GpuRates rates(h200, "bfloat16");
  struct Measured {
    double length, forward, backward;
  };
  for (const Measured m :
       {Measured{2048, 484, 370}, Measured{4096, 591, 474}, Measured{8192, 644, 541},
        Measured{16384, 673, 579}, Measured{32768, 688, 581}}) {
    CHECK(1.0 / rates.attention(false, 1e12, m.length, 128) == Approx(m.forward).epsilon(0.04));
    CHECK(1.0 / rates.attention(true, 1e12, m.length, 128) == Approx(m.backward).epsilon(0.04));
  }
  // Heads of 64 are slower, as FlashAttention-3's are.
  CHECK(rates.attention(false, 1e12, 16384, 128) / rates.attention(false, 1e12, 16384, 64) ==
        Approx(473.0 / 616.0).epsilon(0.02));
}

TEST_CASE("a figure that is missing is named with its key") {
  const auto message = [](auto&& change, const char* dtype) -> std::string {
    auto h = hundred();
    change(h);
    try {
      plan::GpuRates(h, dtype).product(128, 128, 128, 0.0, plan::GpuRates::Precision::fp8);
    } catch (const Error& error) {
      CHECK(error.status() == ExitStatus::bad_configuration);
      return error.what();
    }
    return "";
  };
  using H = config::HardwareParameters;
  using Catch::Contains;
  CHECK_THAT(message([](H& h) { h.product_bf16_tflops = 0; }, "bfloat16"),
             Contains("hardware.product_bf16_tflops of test"));
  CHECK_THAT(message([](H& h) { h.product_fp8_tflops = 0; }, "bfloat16"),
             Contains("hardware.product_fp8_tflops"));
  CHECK_THAT(message([](H& h) { h.peak_fp32_tflops = 0; }, "float32"),
             Contains("hardware.peak_fp32_tflops"));
  CHECK_THAT(message([](H& h) { h.attention_forward_tflops = 0; }, "bfloat16"),
             Contains("hardware.attention_forward_tflops"));
  CHECK_THAT(message([](H& h) { h.attention_backward_tflops = 0; }, "bfloat16"),
             Contains("hardware.attention_backward_tflops"));
  CHECK_THAT(message([](H& h) { h.copy_gbs = 0; }, "bfloat16"), Contains("hardware.copy_gbs"));
  CHECK_THAT(message([](H& h) { h.multiprocessors = 0; }, "bfloat16"),
             Contains("hardware.multiprocessors"));
}

TEST_CASE("what does not fit beside the computation is exposed, and the last piece") {
  CHECK(plan::exposure(1.0, 10.0, 4.0).exposed == Approx(0.25));
  CHECK(plan::exposure(1.0, 10.0, 4.0).hidden == Approx(0.75));
  CHECK(plan::exposure(10.0, 4.0, 100.0).exposed == Approx(6.0));
  CHECK(plan::exposure(1.0, 0.0, 4.0).exposed == Approx(1.0));
  CHECK(plan::exposure(0.0, 1.0, 4.0).exposed == 0.0);
}

TEST_CASE("the share of the peak stays below that of the best product, on every device") {
  for (const char* name :
       {"a100-40", "a100-80", "h100", "h100-500w", "h200", "b200", "b300", "gb200", "a6000"}) {
    const auto h = device_named(name);
    for (const std::int64_t tensor : {1, 2, 8}) {
      const config::Parameters p = qwen3_8b_on(tensor, 16 / tensor);
      const double tokens = static_cast<double>(p.training.global_batch_size * 4096) / 16.0;
      const double flops =
          tokens *
          plan::flops_per_token(model::Architecture::from(p.model), 4096.0).causal_attention;
      const double mfu = flops / step_seconds(p, h) / (h.peak_bf16_tflops * 1e12);
      CAPTURE(name, tensor, mfu);
      CHECK(mfu < h.product_bf16_tflops / h.peak_bf16_tflops);
      CHECK(mfu > 0.05);
    }
  }
}

TEST_CASE("nothing that is faster slows a step") {
  const config::Parameters p = qwen3_8b_on(4, 8);
  const auto h = device_named("h100");
  const double base = step_seconds(p, h);
  const auto with = [&](auto&& change) {
    auto faster = h;
    change(faster);
    return step_seconds(p, faster);
  };
  using H = config::HardwareParameters;
  CHECK(with([](H& x) { x.link_bus_gbs *= 2; }) < base);
  CHECK(with([](H& x) { x.network_bus_gbs *= 2; }) <= base);
  CHECK(with([](H& x) { x.link_latency_us = 0; }) < base);
  CHECK(with([](H& x) { x.copy_gbs *= 2; }) < base);
  CHECK(with([](H& x) { x.product_bf16_tflops *= 1.2; }) < base);
  CHECK(with([](H& x) { x.attention_forward_tflops *= 1.2; }) < base);
  CHECK(with([](H& x) { x.overhead_us = 0; }) < base);
  CHECK(with([](H& x) { x.communication_multiprocessors = 0; }) <= base);
  config::Parameters exposed = p;
  exposed.parallel.overlap_data = false;
  CHECK(step_seconds(exposed, h) > base);
  CHECK(plan::predict_step(exposed, h).data_hidden == 0.0);
}

TEST_CASE("the parts of a step add up, and more work takes longer") {
  const auto h = device_named("b200");
  const config::Parameters p = qwen3_8b_on(1, 8);
  const plan::StepTime t = plan::predict_step(p, h);
  CHECK(t.step() == Approx(t.products + t.attention + t.memory_bound + t.tensor_exposed +
                           t.context_exposed + t.data_exposed + t.bubble + t.other));
  CHECK(t.tensor_exposed == 0.0);
  CHECK(t.bubble == 0.0);
  CHECK(t.products > t.attention);
  config::Parameters longer = p;
  longer.training.sequence_length *= 2;
  CHECK(plan::predict_step(longer, h).attention > 2.5 * t.attention);
  config::Parameters again = p;
  again.memory.recompute = "full";
  CHECK(step_seconds(again, h) > 1.2 * t.step());
  config::Parameters fp32 = p;
  fp32.training.dtype = "float32";
  CHECK(step_seconds(fp32, h) > 5.0 * t.step());
}

TEST_CASE("a run's keys and values are gathered twice and their gradients summed") {
  auto h = hundred();
  h.attention_forward_half = 0.0;
  h.link_gbs = 100.0;
  config::Parameters p = qwen3_8b_on(1, 1);
  p.training.sequence_length = 32768;
  const plan::StepTime one = plan::predict_step(p, h);
  CHECK(one.context_exposed == 0.0);
  p.parallel.context = 4;
  p.parallel.context_kv_heads = 8;  // all at a time: nothing is beside them
  const plan::StepTime four = plan::predict_step(p, h);
  CHECK(four.context_hidden == 0.0);
  // 36 blocks and 4 micro-batches; in bf16 forwards and backwards, gradients in fp32, of 8 heads.
  const double keys_and_values = 32768.0 * 2 * 8 * 128;
  CHECK(four.context_exposed ==
        Approx(36 * 4 * (2 * 2 + 4) * keys_and_values * 3.0 / 4.0 / 100e9).epsilon(0.02));
  CHECK(four.attention == Approx(one.attention / 4.0).epsilon(0.01));
  CHECK(four.products == Approx(one.products / 4.0).epsilon(0.05));
  CHECK(four.step() == Approx(four.products + four.attention + four.memory_bound +
                              four.context_exposed + four.data_exposed + four.other));
  // Gradients are divided over these ranks as over data ranks.
  CHECK(one.data_exposed == 0.0);
  CHECK(four.data_exposed > 0.0);
  // A rank's blocks of queries lie all over the sequence: more ranks, the same keys.
  p.parallel.context = 8;
  CHECK(plan::predict_step(p, h).context_exposed ==
        Approx(four.context_exposed * (7.0 / 8.0) / (3.0 / 4.0)).epsilon(0.02));
  // Tensor ranks stand between those of the group, which is then on several nodes.
  h.network_gbs = 2.0;
  const double near = plan::predict_step(p, h).context_exposed;
  p.parallel.tensor = 2;
  CHECK(plan::predict_step(p, h).context_exposed > 2.0 * near);
}

TEST_CASE("on a GPU the keys of the next heads travel beside attention, as far as it lasts") {
  auto h = hundred();
  h.link_gbs = 100.0;
  config::Parameters p = qwen3_8b_on(1, 1);
  p.training.sequence_length = 32768;
  p.parallel.context = 4;
  p.parallel.context_kv_heads = 8;
  const double all = plan::predict_step(p, h).context_exposed;
  p.parallel.context_kv_heads = 2;
  const plan::StepTime quarter = plan::predict_step(p, h);
  // But for the starts of four times as many collectives.
  CHECK(quarter.context_exposed == Approx(all / 4.0).epsilon(0.02));
  CHECK(quarter.context_hidden == Approx(0.75 * all).epsilon(0.02));
  // Half of the multiprocessors are taken from attention meanwhile.
  h.communication_multiprocessors = 50;
  CHECK(plan::predict_step(p, h).context_exposed ==
        Approx((0.25 + 0.5 * 0.75) * all).epsilon(0.02));
  h.communication_multiprocessors = 0;
  h.link_gbs = 0.1;
  const plan::StepTime slow = plan::predict_step(p, h);
  CHECK(slow.context_hidden == Approx(slow.attention));
  CHECK(slow.context_exposed == Approx(1000.0 * all - slow.attention).epsilon(0.02));
  // What the default is, the run's own buffers say.
  p.parallel.context_kv_heads = 0;
  for (const int tensor : {1, 2}) {
    p.parallel.tensor = tensor;
    for (const std::int64_t length : {32768, 1 << 20}) {
      p.training.sequence_length = length;
      const auto memory = plan::TrainingMemory::planned(p, {{.tensor = tensor, .context = 4}, 0},
                                                        device::Backend::cuda, 90);
      CHECK(plan::key_parts(p) ==
            8.0 / tensor / static_cast<double>(memory.activations->attention.num_kv_heads));
    }
  }
}

TEST_CASE("keys that pass round beside attention are part of a published layout's time") {
  auto h = hundred();
  h.link_gbs = 1.0;
  config::Parameters p = qwen3_8b_on(1, 1);
  p.training.sequence_length = 8192;
  const plan::StepTime time = plan::layout_time(p, {.context = 2}, h);
  CHECK(time.context_exposed > 0.0);
  CHECK(time.tensor_exposed == 0.0);
  // What the input says of the run's own grid is not the layout's.
  p.parallel.context = 4;
  CHECK(plan::layout_time(p, {.context = 2}, h).step() == time.step());
}

TEST_CASE("a layout of the axes that a run has takes the time of that run") {
  for (const char* name : {"a100-80", "h100", "b200"}) {
    for (const auto& [tensor, data] : {std::pair{1, 1}, {1, 16}, {8, 1}, {4, 8}}) {
      const config::Parameters p = qwen3_8b_on(tensor, data);
      const double run = step_seconds(p, device_named(name));
      const double layout =
          plan::layout_time(p, {.tensor = tensor, .data = data}, device_named(name)).step();
      CAPTURE(name, tensor, data);
      CHECK(layout == Approx(run).epsilon(0.02));
    }
  }
}

TEST_CASE("a pipeline waits (p - 1) / (v m) of its work") {
  const auto h = hundred();
  config::Parameters p = qwen3_8b_on(1, 1);
  p.training.global_batch_size = 32;
  p.model.tie_word_embeddings = false;
  const plan::StepTime one = plan::layout_time(p, {.pipeline = 4}, h);
  const auto work = [](const plan::StepTime& t) { return t.products + t.attention; };
  CHECK(one.bubble / work(one) == Approx(3.0 / 32.0).epsilon(0.02));
  const plan::StepTime three = plan::layout_time(p, {.pipeline = 4, .virtual_stages = 3}, h);
  CHECK(three.bubble / work(three) == Approx(3.0 / (3.0 * 32.0)).epsilon(0.02));
  // The last rank has the head beside its share of the blocks.
  const plan::StepTime whole = plan::layout_time(p, {}, h);
  CHECK(work(one) > work(whole) / 4.0);
  CHECK(work(one) < work(whole) / 2.5);
}

TEST_CASE("context ranks divide products and attention evenly") {
  auto h = hundred();
  h.attention_forward_half = 0.0;
  config::Parameters p = qwen3_8b_on(1, 1);
  p.training.sequence_length = 32768;
  const plan::StepTime one = plan::layout_time(p, {}, h);
  const plan::StepTime four = plan::layout_time(p, {.context = 4}, h);
  CHECK(four.attention == Approx(one.attention / 4.0).epsilon(0.01));
  CHECK(four.products == Approx(one.products / 4.0).epsilon(0.05));
}

TEST_CASE("weights that are divided are gathered twice for every micro-batch") {
  auto h = hundred();
  h.link_gbs = 100.0;
  const config::Parameters p = qwen3_8b_on(1, 8);  // four micro-batches
  const auto traffic = [&](plan::StepLayout layout) {
    layout.data = 8;
    layout.overlap_data = false;
    return plan::layout_time(p, layout, h).data_exposed;
  };
  // Bytes by stage of N parameters, 4 of a gradient and 2 of a weight.
  const double n = 7.0 / 8.0 * 8'190'735'360.0 / 100e9;
  CHECK(traffic({.zero_stage = 0}) == Approx(2 * 4 * n).epsilon(0.01));
  CHECK(traffic({.zero_stage = 1}) == Approx((4 + 2) * n).epsilon(0.01));
  CHECK(traffic({.zero_stage = 2}) == Approx((4 * 4 + 2) * n).epsilon(0.01));
  CHECK(traffic({.zero_stage = 3}) == Approx(4 * (4 + 2 * 2) * n).epsilon(0.01));
  CHECK(traffic({.zero_stage = 3, .reshard = false}) == Approx(4 * (4 + 2) * n).epsilon(0.01));
}

TEST_CASE("a layout that divides nothing evenly is refused") {
  const config::Parameters p = qwen3_8b_on(1, 8);
  const auto h = hundred();
  using Catch::Contains;
  CHECK_THROWS_WITH(plan::layout_time(p, {.context = 3, .data = 8}, h), Contains("context ranks"));
  CHECK_THROWS_WITH(plan::layout_time(p, {.data = 7}, h), Contains("data ranks"));
  CHECK_THROWS_WITH(plan::layout_time(p, {.data = 8, .pipeline = 5}, h), Contains("36 blocks"));
}

TEST_CASE("a host's step is not asked of a GPU's figures") {
  auto h = hundred();
  h.kind = "cpu";
  CHECK_THROWS_AS(plan::predict_step(qwen3_8b_on(1, 1), h), Error);
}
