#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "kernels/attention_provider.hpp"

namespace espalier::kernels {
namespace {

AttentionRequest request(std::int64_t head_dim, DType dtype) {
  return {.shape = {.batch = 1,
                    .query_length = 8,
                    .kv_length = 8,
                    .num_q_heads = 2,
                    .num_kv_heads = 1,
                    .head_dim = head_dim},
          .dtype = dtype};
}

std::string refusal(AttentionProvider provider, const AttentionRequest& request) {
  try {
    choose(provider, request);
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::bad_configuration);
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("the providers of attention have the names of device.attention", "[attention]") {
  for (const char* name : {"auto", "reference", "mma", "wgmma", "cudnn"})
    CHECK(name_of(attention_provider_from_name(name)) == name);
  CHECK_THROWS_AS(attention_provider_from_name("fast"), Error);
}

TEST_CASE("the automatic provider is the fastest that fits, and there is always one",
          "[attention]") {
  const auto automatic = AttentionProvider::automatic;
  CHECK(choose(automatic, request(128, DType::bf16)) == AttentionProvider::mma);
  CHECK(choose(automatic, request(64, DType::bf16)) == AttentionProvider::mma);
  CHECK(choose(automatic, request(64, DType::f32)) == AttentionProvider::reference);
  CHECK(choose(automatic, request(96, DType::bf16)) == AttentionProvider::reference);
  AttentionRequest odd_rows = request(64, DType::bf16);
  odd_rows.aligned = false;
  CHECK(choose(automatic, odd_rows) == AttentionProvider::reference);
}

TEST_CASE("a provider that is asked for and does not fit says what it needs", "[attention]") {
  const std::string dtype = refusal(AttentionProvider::mma, request(64, DType::f32));
  CHECK(dtype.find("mma") != std::string::npos);
  CHECK(dtype.find("bfloat16") != std::string::npos);
  CHECK(dtype.find("device.attention") != std::string::npos);
  const std::string head_dim = refusal(AttentionProvider::mma, request(80, DType::bf16));
  CHECK(head_dim.find("head_dim of 64 or 128, not 80") != std::string::npos);
  CHECK(refusal(AttentionProvider::reference, request(258, DType::f32)).find("256") !=
        std::string::npos);
  CHECK(refusal(AttentionProvider::automatic, request(258, DType::f32)).find("256") !=
        std::string::npos);
  CHECK(refusal(AttentionProvider::reference, request(80, DType::f32)) == "");
}

}  // namespace espalier::kernels
