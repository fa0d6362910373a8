#include "cases.hpp"

namespace espalier::test {

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  add_elementwise_cases(cases);
  add_embedding_cases(cases);
  add_bias_cases(cases);
  add_gelu_cases(cases);
  add_layernorm_cases(cases);
  add_norm_cases(cases);
  add_positions_cases(cases);
  add_qk_norm_rope_cases(cases);
  add_swiglu_cases(cases);
  add_cross_entropy_cases(cases);
  add_attention_cases(cases);
  add_attention_wgmma_cases(cases);
  add_adamw_cases(cases);
  return cases;
}

TEST_CASE("the CUDA operators agree with the host's, to the bit in any order of threads",
          "[operators]") {
  for (const Case& example : all_cases()) {
    CAPTURE(example.name);
    std::uint64_t bits = 0;
    for (std::uint64_t seed : {1, 2, 3}) {
      set_order(seed);
      const Verdict verdict = example.run();
      CHECK(verdict.complaints == "");
      if (seed == 1) bits = verdict.bits;
      CHECK(verdict.bits == bits);
    }
  }
}

}  // namespace espalier::test
