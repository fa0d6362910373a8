#include <cstdio>
#include <cstdlib>

#include "cases.hpp"

namespace espalier::testing {
namespace {

using Add = void (*)(std::vector<Case>&);
constexpr Add kAll[] = {
    add_elementwise_cases,   add_embedding_cases,       add_bias_cases,
    add_gelu_cases,          add_layernorm_cases,       add_norm_cases,
    add_positions_cases,     add_qk_norm_rope_cases,    add_swiglu_cases,
    add_cross_entropy_cases, add_attention_cases,       add_attention_wgmma_cases,
    add_adamw_cases,         add_batch_inputs_cases,    add_expert_dispatch_cases,
    add_expert_swiglu_cases, add_grouped_product_cases, add_router_cases,
    add_grouped_wgmma_cases};

/// The operators agree with the host's, to the bit in any order of threads.
void check(const Case& example) {
  INFO(example.name);
  std::uint64_t bits = 0;
  for (std::uint64_t seed : {1, 2, 3}) {
    set_order(seed);
    const Verdict verdict = example.run();
    if (!verdict.complaints.empty()) {
      FAIL_CHECK("run " << seed << " of 3: " << verdict.complaints);
      return;  // the others hardly differ, and a log has an end
    }
    if (seed == 1) bits = verdict.bits;
    if (verdict.bits != bits)
      FAIL_CHECK("run " << seed << " of 3 has other bits than the first: results depend on the "
                        << "order of threads");
  }
  SUCCEED();
}

/// From ESPALIER_TEST_FIRST_CASE on, where it is set, and each case with its number before it is
/// run. A kernel that fails or hangs ends the process: who started it knows at which case, and
/// goes on behind it in another one (tests/gpu/session.py).
void check(Add add) {
  std::vector<Case> cases;
  add(cases);
  const char* first = std::getenv("ESPALIER_TEST_FIRST_CASE");
  for (std::size_t i = first == nullptr ? 0 : std::strtoul(first, nullptr, 10) - 1;
       i < cases.size(); ++i) {
    if (first != nullptr) {
      fmt::print("case {} of {}: {}\n", i + 1, cases.size(), cases[i].name);
      std::fflush(stdout);
    }
    check(cases[i]);
  }
}

}  // namespace

/// For seeded faults: attention of blocks of queries has the barriers and copies of attention of
/// whole sequences, and is left out.
std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const Add add : kAll) add(cases);
  return cases;
}

// A test case for each header, because a kernel that fails leaves its process without a GPU.
TEST_CASE("CUDA elementwise as the host", "[operators]") {
  check(add_elementwise_cases);
}
TEST_CASE("CUDA embedding as the host", "[operators]") {
  check(add_embedding_cases);
}
TEST_CASE("CUDA gather of a batch as the host", "[operators]") {
  check(add_batch_inputs_cases);
}
TEST_CASE("CUDA bias as the host", "[operators]") {
  check(add_bias_cases);
}
TEST_CASE("CUDA GELU as the host", "[operators]") {
  check(add_gelu_cases);
}
TEST_CASE("CUDA LayerNorm as the host", "[operators]") {
  check(add_layernorm_cases);
}
TEST_CASE("CUDA RMSNorm as the host", "[operators]") {
  check(add_norm_cases);
}
TEST_CASE("CUDA positions as the host", "[operators]") {
  check(add_positions_cases);
}
TEST_CASE("CUDA QK-norm and RoPE as the host", "[operators]") {
  check(add_qk_norm_rope_cases);
}
TEST_CASE("CUDA SwiGLU as the host", "[operators]") {
  check(add_swiglu_cases);
}
TEST_CASE("CUDA cross-entropy as the host", "[operators]") {
  check(add_cross_entropy_cases);
}
TEST_CASE("CUDA attention as the host", "[operators]") {
  check(add_attention_cases);
}
TEST_CASE("CUDA attention by wgmma as the host", "[operators]") {
  check(add_attention_wgmma_cases);
}
TEST_CASE("CUDA attention of blocks of queries as the host", "[operators]") {
  check(add_attention_blocks_cases);
}
TEST_CASE("CUDA attention of blocks of queries by wgmma as the host", "[operators]") {
  check(add_attention_wgmma_blocks_cases);
}
TEST_CASE("CUDA AdamW as the host", "[operators]") {
  check(add_adamw_cases);
}
TEST_CASE("CUDA router as the host", "[operators]") {
  check(add_router_cases);
}
TEST_CASE("CUDA dispatch of experts as the host", "[operators]") {
  check(add_expert_dispatch_cases);
}
TEST_CASE("CUDA activation of experts as the host", "[operators]") {
  check(add_expert_swiglu_cases);
}
TEST_CASE("CUDA grouped products as the host", "[operators]") {
  check(add_grouped_product_cases);
}
TEST_CASE("CUDA grouped products by wgmma as the host", "[operators]") {
  check(add_grouped_wgmma_cases);
}

// Only when they are asked for.
TEST_CASE("CUDA attention of many blocks as the host", "[.large]") {
  check(add_large_attention_cases);
}
TEST_CASE("CUDA grouped products of many tiles as the host", "[.large]") {
  check(add_large_grouped_cases);
}
TEST_CASE("CUDA dispatch of many tokens as the host", "[.large]") {
  check(add_large_dispatch_cases);
}

}  // namespace espalier::testing
