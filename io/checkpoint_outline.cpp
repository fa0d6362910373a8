#include "io/checkpoint_outline.hpp"

#include "io/told_bytes.hpp"

namespace espalier::io {

namespace {

/// visit(field) for every field of CheckpointInfo. One more or less does not compile.
template <class Info, class Visit>
void for_each_field(Info& info, Visit&& visit) {
  auto& [step, samples_consumed, tokens_consumed, adam_step, num_spikes, resolved_input,
         tokenizer_identity, tokenizer_file, data_identity, allowed_changes, build, grid, num_ranks,
         is_shared, saved_at, job, weights_only, expert_bias, num_experts] = info;
  visit(step), visit(samples_consumed), visit(tokens_consumed), visit(adam_step);
  visit(num_spikes);
  visit(resolved_input), visit(tokenizer_identity), visit(tokenizer_file), visit(data_identity);
  visit(allowed_changes), visit(build), visit(grid), visit(num_ranks), visit(is_shared),
      visit(saved_at);
  visit(job), visit(weights_only), visit(expert_bias), visit(num_experts);
}

}  // namespace

std::string encode_outline(const CheckpointOutline& outline) {
  ToldBytesWriter out;
  for_each_field(outline.info, [&](const auto& field) { out.put(field); });
  out.put(outline.num_parts);
  for (const auto& tensor : outline.tensors) {
    out.put(tensor.name);
    out.put(tensor.rows);
    out.put(tensor.cols);
    out.put(tensor.is_vector);
  }
  return out.take();
}

CheckpointOutline decode_outline(std::string_view bytes) {
  ToldBytesReader in(bytes);
  CheckpointOutline outline;
  for_each_field(outline.info, [&](auto& field) { in.get(field); });
  in.get(outline.num_parts);
  while (!in.at_end()) {
    auto& tensor = outline.tensors.emplace_back();
    in.get(tensor.name);
    in.get(tensor.rows);
    in.get(tensor.cols);
    in.get(tensor.is_vector);
  }
  return outline;
}

std::string encode_part(std::span<const RankEntries> ranks) {
  ToldBytesWriter out;
  for (const RankEntries& of_rank : ranks) {
    out.put(of_rank.rank);
    out.put(of_rank.file_bytes);
    out.put(std::uint64_t{of_rank.entries.size()});
    for (const IndexEntry& entry : of_rank.entries) {
      const parallel::Rectangle& r = entry.rectangle;
      for (const std::int64_t number :
           {entry.tensor, r.row_begin, r.row_end, r.col_begin, r.col_end})
        out.put(number);
    }
  }
  return out.take();
}

std::vector<RankEntries> decode_part(std::string_view bytes) {
  ToldBytesReader in(bytes);
  std::vector<RankEntries> ranks;
  while (!in.at_end()) {
    RankEntries& of_rank = ranks.emplace_back();
    in.get(of_rank.rank);
    in.get(of_rank.file_bytes);
    const auto count = in.get<std::uint64_t>();
    for (std::uint64_t ordinal = 0; ordinal < count; ++ordinal) {
      IndexEntry entry{.tensor = in.get<std::int64_t>(),
                       .rank = of_rank.rank,
                       .ordinal = static_cast<std::int64_t>(ordinal),
                       .rectangle = {}};
      in.get(entry.rectangle.row_begin);
      in.get(entry.rectangle.row_end);
      in.get(entry.rectangle.col_begin);
      in.get(entry.rectangle.col_end);
      of_rank.entries.push_back(entry);
    }
  }
  return ranks;
}

}  // namespace espalier::io
