#include "cases.hpp"

namespace espalier::testing {
namespace {

struct Gathered {
  Ids<std::uint32_t> tokens, targets;
  Ids<std::int32_t> position_ids, document_start;

  explicit Gathered(std::int64_t n)
      : tokens(std::vector<std::uint32_t>(static_cast<std::size_t>(n), 7U)),
        targets(std::vector<std::uint32_t>(static_cast<std::size_t>(n), 7U)),
        position_ids(std::vector<std::int32_t>(static_cast<std::size_t>(n), 7)),
        document_start(std::vector<std::int32_t>(static_cast<std::size_t>(n), 7)) {}
};

struct Example {
  const char* name;
  std::int64_t batch, length, num_counted;
  bool documents, mask, predict_across;
  std::int64_t block_length = 0;  ///< with it, of two ranks one has every other block
};

Verdict batch_inputs_case(const Example& e) {
  device::Context context;
  TestQueue queue;
  std::vector<std::uint32_t> tokens;
  std::vector<std::int32_t> places;
  for (std::int64_t i = 0; i < e.batch * (e.length + 1); ++i) {
    const std::int64_t s = i % (e.length + 1);
    tokens.push_back(static_cast<std::uint32_t>(i * 2654435761));
    places.push_back(static_cast<std::int32_t>(s % (1 + i / (e.length + 1) + 3)));
  }
  Ids<std::uint32_t> samples(tokens);
  Ids<std::int32_t> documents(places);
  const auto in_rows = [&](device::View view) -> device::ConstView {
    return {view.data, view.dtype, e.batch, e.length + 1, e.length + 1};
  };
  std::vector<std::int32_t> mine;
  for (std::int64_t b = 0; b < e.batch && e.block_length > 0; ++b)
    for (std::int64_t start = b % 2 * e.block_length; start < e.length; start += 2 * e.block_length)
      mine.push_back(static_cast<std::int32_t>(start));
  const auto num_blocks = static_cast<std::int64_t>(mine.size());
  Ids<std::int32_t> starts(mine);
  const std::int64_t num_tokens =
      e.block_length > 0 ? num_blocks * e.block_length : e.batch * e.length;
  Gathered want(num_tokens), got(num_tokens);
  const auto call = [&](Gathered& to) {
    return kernels::BatchInputs{
        .samples = in_rows(samples.view()),
        .document_positions = e.documents ? in_rows(documents.view()) : device::ConstView{},
        .num_counted = e.num_counted,
        .predict_across = e.predict_across,
        .tokens = to.tokens.view(),
        .targets = to.targets.view(),
        .position_ids = to.position_ids.view(),
        .document_start = e.mask ? to.document_start.view() : device::View{},
        .block_starts = e.block_length > 0
                            ? device::ConstView{starts.view().data, DType::i32, e.batch,
                                                num_blocks / e.batch, num_blocks / e.batch}
                            : device::ConstView{},
        .block_length = e.block_length};
  };
  kernels::batch_inputs(context, call(want));
  kernels::ESPALIER_GPU::batch_inputs(queue, call(got));
  Verdict verdict;
  for (std::int64_t t = 0; t < num_tokens; ++t) {
    verdict.expect("tokens", got.tokens[t] == want.tokens[t]);
    verdict.expect("targets", got.targets[t] == want.targets[t]);
    verdict.expect("positions", got.position_ids[t] == want.position_ids[t]);
    verdict.expect("document starts", got.document_start[t] == want.document_start[t]);
  }
  return verdict;
}

}  // namespace

void add_batch_inputs_cases(std::vector<Case>& cases) {
  for (const Example& e : {Example{"one token", 1, 1, 1, false, false, true},
                           Example{"a tail, samples left out", 3, 301, 2, false, false, true},
                           Example{"none counts", 2, 5, 0, false, false, true},
                           Example{"mask", 5, 256, 5, true, true, true},
                           Example{"inside documents alone", 4, 257, 3, true, false, false},
                           Example{"mask, inside documents alone", 2, 600, 2, true, true, false},
                           Example{"blocks", 2, 512, 1, false, false, true, 128},
                           Example{"blocks, mask", 3, 768, 3, true, true, false, 128}})
    cases.push_back(
        {fmt::format("batch inputs, {}", e.name), [e] { return batch_inputs_case(e); }});
}

}  // namespace espalier::testing
