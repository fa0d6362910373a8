#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "kernels/attention/attention_provider.hpp"
#include "kernels/attention/attention_shapes.hpp"

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

TEST_CASE("cudnn says what it cannot do, and automatic does without it there", "[attention]") {
  const auto cudnn = AttentionProvider::cudnn;
  const auto automatic = AttentionProvider::automatic;
  const auto says = [](const AttentionRequest& request, const char* part) {
    const std::string text = refusal(AttentionProvider::cudnn, request);
    CAPTURE(text, part);
    CHECK(text.find("cudnn") != std::string::npos);
    CHECK(text.find(part) != std::string::npos);
    CHECK(text.find("device.attention = \"auto\"") != std::string::npos);
    CHECK(choose(AttentionProvider::automatic, request) != AttentionProvider::cudnn);
  };
  AttentionRequest good = request(128, DType::bf16);
  says(good, "not the emulated one");
  good.compute_capability = 75;
  says(good, "8.0 or higher, not 7.5");
  good.compute_capability = 100;
  AttentionRequest bad = good;
  bad.dtype = DType::f32;
  says(bad, "bfloat16, not float32");
  bad = good;
  bad.shape.head_dim = 96;
  says(bad, "head_dim");
  bad = good;
  bad.documents = true;
  says(bad, "data.document_mask = false");
  bad = good;
  bad.shape.query_length = 128;
  bad.shape.kv_length = 256;
  bad.shape.block_length = 128;
  says(bad, "whole sequences: parallel.context = 1");
  bad = good;
  bad.shape.query_length = 1;
  bad.shape.first_query_position = 7;
  says(bad, "not 1 and 8");
  bad = good;
  bad.backward = true;
  says(bad, "elements of scratch, not 0");
  bad.compute_capability = 90;
  says(bad, "10.x for gradients that do not differ from run to run, not 9.0");
  if (!supports(cudnn, good)) says(good, "cudnn");  // this program or machine has none

  // The scratch of cuDNN is planned where it is asked for by name, on whatever machine.
  const std::int64_t usual = attention_backward_scratch_elements(good.shape);
  CHECK(backward_scratch_elements(cudnn, request(128, DType::bf16)) >= 2 * 8 * (2 * 128 + 1));
  CHECK(backward_scratch_elements(automatic, request(128, DType::bf16)) == usual);
  CHECK(backward_scratch_elements(AttentionProvider::mma, good) == usual);
  CHECK_THROWS_WITH(require_for_training(cudnn, request(128, DType::bf16)),
                    Catch::Contains("device.attention"));
  require_for_training(automatic, request(128, DType::bf16));
}

TEST_CASE("the gradients take five products by warpgroups with head_dim 128, and seven with 64",
          "[attention]") {
  // The provider takes five where it is given the scratch for their sums of dQ.
  const auto scratch = [](AttentionProvider asked, int compute_capability, std::int64_t head_dim,
                          DType dtype = DType::bf16) {
    AttentionRequest asking = request(head_dim, dtype);
    asking.compute_capability = compute_capability;
    return backward_scratch_elements(asked, asking);
  };
  const AttentionShape wide = request(128, DType::bf16).shape,
                       narrow = request(64, DType::bf16).shape;
  const std::int64_t five = ordered_scratch(wide).num_elements;
  const std::int64_t seven = attention_backward_scratch_elements(wide);
  const std::int64_t narrow_seven = attention_backward_scratch_elements(narrow);
  CHECK(five > seven);
  const auto automatic = AttentionProvider::automatic;
  const auto wgmma = AttentionProvider::wgmma;
  CHECK(scratch(automatic, 90, 128) == five);
  CHECK(scratch(wgmma, 90, 128) == five);
  CHECK(scratch(wgmma, 0, 128) == five);  // emulated
  CHECK(scratch(automatic, 0, 128) == seven);
  CHECK(scratch(AttentionProvider::mma, 90, 128) == seven);
  CHECK(scratch(automatic, 90, 64) == narrow_seven);
  CHECK(scratch(wgmma, 90, 64) == narrow_seven);
  CHECK(scratch(automatic, 90, 128, DType::f32) == seven);
  for (const int other : {80, 86, 120}) CHECK(scratch(automatic, other, 128) == seven);
}

TEST_CASE("a device with little shared memory is known before anything is launched",
          "[attention]") {
  // 256 columns of fp32 in four tiles of 32 rows: more than an A6000 has, less than an A100.
  AttentionRequest wide = request(256, DType::f32);
  wide.backward = true;
  for (const int capability : {0, 80, 90, 100}) {
    wide.compute_capability = capability;
    CHECK(refusal(AttentionProvider::automatic, wide) == "");
  }
  for (const int capability : {86, 89, 120}) {
    wide.compute_capability = capability;
    const std::string text = refusal(AttentionProvider::automatic, wide);
    CHECK_THAT(text, Catch::Contains("reference needs 141312 bytes of shared memory") &&
                         Catch::Contains("not the 101376"));
    AttentionRequest usual = request(128, DType::bf16);
    usual.compute_capability = capability;
    for (const bool backward : {false, true}) {
      usual.backward = backward;
      CHECK(choose(AttentionProvider::automatic, usual) == AttentionProvider::mma);
      CHECK(supports(AttentionProvider::reference, usual));
    }
  }
}

TEST_CASE("the choice is described with what the better providers need", "[attention]") {
  const auto described = [](int compute_capability, const AttentionRequest& asked) {
    AttentionRequest request = asked;
    request.compute_capability = compute_capability;
    return describe_choice(AttentionProvider::automatic, request);
  };
  const AttentionRequest usual = request(128, DType::bf16);
  CHECK(described(80, usual) == "forward by mma, backward by mma");
  CHECK(described(90, usual) == "forward by wgmma, backward by wgmma");
  CHECK(described(80, request(96, DType::bf16)) ==
        "forward by reference, backward by reference; mma needs a head_dim of 64 or 128, not 96");
  CHECK(described(90, request(96, DType::bf16)) ==
        "forward by reference, backward by reference; wgmma needs a head_dim of 64 or 128, not "
        "96; mma needs a head_dim of 64 or 128, not 96");
  AttentionRequest documents = usual;
  documents.documents = true;
  CHECK(described(100, documents) ==
        "forward by mma, backward by mma; cudnn needs whole sequences: data.document_mask = false");
  CHECK(describe_choice(AttentionProvider::reference, usual) ==
        "forward by reference, backward by reference");
}

TEST_CASE("blocks of queries are for all providers but cudnn, and lie in whole tiles",
          "[attention][blocks]") {
  AttentionRequest blocks = request(128, DType::bf16);
  blocks.shape.query_length = 256;
  blocks.shape.kv_length = 1024;
  blocks.shape.block_length = kGpuBlockLength;
  const auto described = [&](int compute_capability) {
    AttentionRequest here = blocks;
    here.compute_capability = compute_capability;
    return describe_choice(AttentionProvider::automatic, here);
  };
  CHECK(described(80) == "forward by mma, backward by mma");
  CHECK(described(90) == "forward by wgmma, backward by wgmma");
  CHECK(described(100) ==
        "forward by mma, backward by mma; cudnn needs whole sequences: parallel.context = 1");
  for (const auto provider :
       {AttentionProvider::reference, AttentionProvider::mma, AttentionProvider::wgmma}) {
    AttentionRequest bad = blocks;
    CHECK(refusal(provider, bad) == "");
    bad.shape.block_length = 2 * kGpuBlockLength;
    CHECK(refusal(provider, bad) == "");
    bad.shape.block_length = 64;
    CHECK_THAT(refusal(provider, bad),
               Catch::Contains("blocks of a multiple of 128 queries, not of 64"));
  }
  // The sums of dQ are of this rank's queries alone.
  AttentionShape whole = blocks.shape;
  whole.query_length = whole.kv_length;
  blocks.compute_capability = 90;
  CHECK(backward_scratch_elements(AttentionProvider::wgmma, blocks) >=
        ordered_scratch(blocks.shape).num_elements);
  CHECK(ordered_scratch(blocks.shape).num_elements < ordered_scratch(whole).num_elements / 3);
}

}  // namespace espalier::kernels
