#pragma once
#include "config/parameters.hpp"

// A device and a run that the tests of estimates plan with.

namespace espalier::testing {

/// About a B200 in a node of eight.
inline config::HardwareParameters device(double memory_gib = 178.0) {
  config::HardwareParameters h;
  h.name = "Test GPU";
  h.kind = "gpu";
  h.compute_capability = 100;
  h.multiprocessors = 148;
  h.memory_gib = memory_gib;
  h.peak_bf16_tflops = 2250.0;
  h.peak_fp8_tflops = 4500.0;
  h.peak_fp32_tflops = 80.0;
  h.product_bf16_tflops = 1745.0;
  h.product_fp8_tflops = 3432.0;
  h.product_fp32_tflops = 70.0;
  h.attention_forward_tflops = 1100.0;
  h.attention_backward_tflops = 900.0;
  h.attention_forward_half = 1500.0;
  h.attention_backward_half = 1750.0;
  h.memory_gbs = 8000.0;
  h.copy_gbs = 6500.0;
  h.overhead_us = 3.0;
  h.devices_per_node = 8;
  h.link_gbs = 900.0;
  h.link_bus_gbs = 720.0;
  h.link_latency_us = 2.0;
  h.network_gbs = 50.0;
  h.network_bus_gbs = 47.0;
  h.network_latency_us = 5.0;
  h.communication_multiprocessors = 16;
  h.storage_gbs = 10.0;
  return h;
}

/// A small Qwen3: 6 query heads share 2 key and value heads, and its vocabulary divides by nothing.
inline config::Parameters small_run() {
  config::Parameters p;
  p.run.name = "small";
  p.model.model_type = "qwen3";
  p.model.vocab_size = 1009;
  p.model.hidden_size = 192;
  p.model.intermediate_size = 576;
  p.model.num_hidden_layers = 3;
  p.model.num_attention_heads = 6;
  p.model.num_key_value_heads = 2;
  p.model.head_dim = 64;
  p.training.sequence_length = 256;
  p.training.global_batch_size = 12;
  p.training.steps = 1000;
  return p;
}

}  // namespace espalier::testing
