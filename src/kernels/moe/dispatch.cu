#include "kernels/moe/dispatch.hpp"

#include <algorithm>

#include "kernels/backends.hpp"
#include "kernels/cuda/own_columns.hpp"
#include "kernels/cuda/threads.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/moe/router_shapes.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

/// Threads of the sort's kernels, and pairs that a block compares with one another.
constexpr int kPairs = 256;
/// Blocks that share the pairs: enough for every multiprocessor, few enough to add up their counts.
constexpr std::int64_t kMaxPairBlocks = 512;
constexpr std::int64_t kLeastOfBlock = 2 * kPairs;

/// How the pairs are cut into blocks, by their number alone.
struct PairBlocks {
  int num_pairs, per_block, num_blocks;

  explicit PairBlocks(std::int64_t pairs) {
    const std::int64_t each =
        round_up(std::max(div_ceil(pairs, kMaxPairBlocks), kLeastOfBlock), kPairs);
    num_pairs = narrow<int>(pairs);
    per_block = narrow<int>(each);
    num_blocks = pairs == 0 ? 0 : narrow<int>(div_ceil(pairs, each));
  }
};

struct Sort {
  Rows<const std::int32_t> experts;
  std::int32_t* order;
  Rows<std::int32_t> place;
  std::int32_t* counts;  ///< (E)
  std::int32_t* before;  ///< (blocks, E) counts of a block; then pairs of the expert before it
  std::int32_t* first;   ///< (E) pairs of lower experts
  PairBlocks blocks;
  int num_experts, k;

  ESPALIER_DEVICE std::int32_t expert(int pair) const {
    return read_element(experts.row(pair / k) + pair % k);
  }
  ESPALIER_DEVICE std::int32_t* place_of(int pair) const { return place.row(pair / k) + pair % k; }
  /// Where the block's pairs end.
  ESPALIER_DEVICE int end_of_block() const {
    const int end = (static_cast<int>(block_index()) + 1) * blocks.per_block;
    return end < blocks.num_pairs ? end : blocks.num_pairs;
  }
};

/// Leaves in place how many of the block's pairs before a pair have the same expert, and in before
/// the block's counts. Pairs are compared kPairs at a time, each with all.
ESPALIER_KERNEL(kPairs)
rank_pairs(Sort a) {
  SharedAllocator shared;
  const auto keys = shared.take<std::int32_t>(kPairs);
  const auto counts = shared.take<std::int32_t>(a.num_experts);
  for (int e = thread_index(); e < a.num_experts; e += kPairs) counts.set(e, 0);
  const int end = a.end_of_block();
  for (int first = static_cast<int>(block_index()) * a.blocks.per_block; first < end;
       first += kPairs) {
    const int pair = first + thread_index();
    const std::int32_t mine = pair < end ? a.expert(pair) : -1;
    keys.set(thread_index(), mine);
    block_barrier();
    int before = 0, behind = 0;
    for (int i = 0; i < kPairs; i += 4) {
      const Words<4> others = keys.read_words<4>(i);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (static_cast<std::int32_t>(others.at[j]) != mine) continue;
        before += i + j < thread_index() ? 1 : 0;
        behind += i + j > thread_index() ? 1 : 0;
      }
    }
    const bool counted = mine >= 0 && mine < a.num_experts;
    const int rank = counted ? counts.get(mine) + before : 0;
    if (pair < end) write_element(a.place_of(pair), rank);
    block_barrier();
    // The last of equals tells how many they are.
    if (counted && behind == 0) counts.set(mine, rank + 1);
    block_barrier();
  }
  for (int e = thread_index(); e < a.num_experts; e += kPairs)
    write_element(a.before + block_index() * a.num_experts + e, counts.get(e));
}

/// Threads of the block that adds up the blocks' counts, an expert each.
constexpr int kScanThreads = 512;

ESPALIER_KERNEL(kScanThreads)
scan_counts(Sort a) {
  constexpr int kAtOnce = 8;
  SharedAllocator shared;
  const auto totals = shared.take<std::int32_t>(a.num_experts);
  for (int e = thread_index(); e < a.num_experts; e += kScanThreads) {
    int sum = 0;
    // Several counts are on their way at a time: none is asked for after a store that might be it.
    for (int b0 = 0; b0 < a.blocks.num_blocks; b0 += kAtOnce) {
      const int num = a.blocks.num_blocks - b0 < kAtOnce ? a.blocks.num_blocks - b0 : kAtOnce;
      std::int32_t* place = a.before + static_cast<std::int64_t>(b0) * a.num_experts + e;
      std::int32_t count[kAtOnce] = {};
#pragma unroll
      for (int b = 0; b < kAtOnce; ++b)
        if (b < num) count[b] = read_element(place + b * a.num_experts);
#pragma unroll
      for (int b = 0; b < kAtOnce; ++b) {
        if (b >= num) continue;
        write_element(place + b * a.num_experts, sum);
        sum += count[b];
      }
    }
    totals.set(e, sum);
    write_element(a.counts + e, sum);
  }
  block_barrier();
  for (int e = thread_index(); e < a.num_experts; e += kScanThreads) {
    int sum = 0;
    for (int lower = 0; lower < e; ++lower) sum += totals.get(lower);
    write_element(a.first + e, sum);
  }
}

ESPALIER_KERNEL(kPairs)
place_pairs(Sort a) {
  const int end = a.end_of_block();
  for (int pair = static_cast<int>(block_index()) * a.blocks.per_block + thread_index(); pair < end;
       pair += kPairs) {
    const std::int32_t mine = a.expert(pair);
    const int place = read_element(a.first + mine) +
                      read_element(a.before + block_index() * a.num_experts + mine) +
                      read_element(a.place_of(pair));
    write_element(a.place_of(pair), place);
    write_element(a.order + place, pair);
  }
}

/// The most blocks that share the tokens of a sequence, and the pairs that one should have.
constexpr std::int64_t kMaxCountBlocks = 32;
constexpr std::int64_t kCountedPairs = 8 * kPairs;

struct CountPairs {
  Rows<const std::int32_t> experts;
  Rows<float> counts;
  std::int32_t* partials;  ///< (B * num_parts, E)
  TokenPlace place;
  std::int64_t num_tokens, num_sequences;
  int num_parts, num_experts, k;
};

/// Block b * num_parts + i counts part i of sequence b: a thread per expert reads all pairs.
ESPALIER_KERNEL(kPairs)
count_part(CountPairs a) {
  SharedAllocator shared;
  const auto keys = shared.take<std::int32_t>(kPairs);
  const std::int64_t sequence = block_index() / a.num_parts;
  const std::int64_t part = block_index() % a.num_parts;
  std::int64_t first = 0, last = a.num_tokens;
  if (a.num_sequences > 1) {
    const std::int64_t begin = sequence * a.place.tokens_per_sequence - a.place.first_token;
    const std::int64_t end = begin + a.place.tokens_per_sequence;
    first = begin > 0 ? begin : 0;
    last = end < a.num_tokens ? end : a.num_tokens;
  }
  const std::int64_t num = last > first ? last - first : 0;
  const std::int64_t begin = (first + num * part / a.num_parts) * a.k;
  const std::int64_t end = (first + num * (part + 1) / a.num_parts) * a.k;
  for (int e0 = 0; e0 < a.num_experts; e0 += kPairs) {
    const int mine = e0 + thread_index();
    int count = 0;
    for (std::int64_t at = begin; at < end; at += kPairs) {
      const std::int64_t pair = at + thread_index();
      keys.set(thread_index(),
               pair < end ? read_element(a.experts.row(pair / a.k) + pair % a.k) : -1);
      block_barrier();
      for (int i = 0; i < kPairs; i += 4) {
        const Words<4> others = keys.read_words<4>(i);
#pragma unroll
        for (int j = 0; j < 4; ++j) count += static_cast<int>(others.at[j]) == mine ? 1 : 0;
      }
      block_barrier();
    }
    if (mine < a.num_experts)
      write_element(a.partials + block_index() * a.num_experts + mine, count);
  }
}

ESPALIER_KERNEL(kPairs)
add_up_parts(CountPairs a) {
  const std::int64_t i = block_index() * kPairs + thread_index();
  if (i >= a.num_sequences * a.num_experts) return;
  const std::int64_t sequence = i / a.num_experts;
  const auto expert = static_cast<int>(i % a.num_experts);
  int sum = 0;
#pragma unroll 8
  for (int part = 0; part < a.num_parts; ++part)
    sum += read_element(a.partials + (sequence * a.num_parts + part) * a.num_experts + expert);
  write_element(a.counts.row(sequence) + expert, static_cast<float>(sum));
}

/// A block per row. A thread asks for all of its columns before it writes the first.
template <class T, int kCount, int kPacks>
ESPALIER_KERNEL(kMaxRowThreads)
gather_row(Rows<T> out, Rows<const T> in, const std::int32_t* index, int divisor, int width) {
  const std::int64_t r = block_index();
  const T* from = in.row(read_element(index + r) / divisor);
  T* to = out.row(r);
  const auto write = [&](int c, auto columns, const auto& raw) {
    if constexpr (decltype(columns)::value == 1)
      write_element(to + c, raw);
    else
      write_words(to + c, raw);
  };
  if constexpr (kPacks == kNotKept) {
    for_columns<kCount>(
        width, [&](int c, auto columns) { write(c, columns, load_raw(from + c, columns)); });
  } else {
    OwnColumns<Raw<T, kCount>, T, kPacks> row;
    for_own_columns<kCount, kPacks>(width, [&](int p, int c, auto columns) {
      row.at(p, columns) = load_raw(from + c, columns);
    });
    for_own_columns<kCount, kPacks>(
        width, [&](int p, int c, auto columns) { write(c, columns, row.at(p, columns)); });
  }
}

/// A thread per element, for rows of a few.
template <class T>
ESPALIER_KERNEL(kPairs)
gather_elements(Rows<T> out, Rows<const T> in, const std::int32_t* index, int divisor, int width,
                std::int64_t count) {
  const std::int64_t i = block_index() * kPairs + thread_index();
  if (i >= count) return;
  const std::int64_t r = i / width;
  const std::int64_t c = i % width;
  write_element(out.row(r) + c, read_element(in.row(read_element(index + r) / divisor) + c));
}

template <class T>
struct Combine {
  Rows<const T> rows;
  Rows<const std::int32_t> place;
  Rows<const float> weights;  ///< data == nullptr: 1
  Rows<const T> add;          ///< data == nullptr: none
  Rows<T> out;
  int k, width;
};

/// Slots of a token whose rows are asked for together.
constexpr int kSlotsAtOnce = 4;

/// A block per token. A place of out is written after all that may alias it has been read.
template <class T, int kCount>
ESPALIER_KERNEL(kMaxRowThreads)
combine_row(Combine<T> a) {
  SharedAllocator shared;
  const auto place = shared.take<std::int32_t>(static_cast<int>(kMaxExpertsPerToken));
  const auto weight = shared.take<float>(static_cast<int>(kMaxExpertsPerToken));
  const std::int64_t t = block_index();
  for (int j = thread_index(); j < a.k; j += num_threads()) {
    place.set(j, read_element(a.place.row(t) + j));
    weight.set(j, a.weights.data != nullptr ? read_element(a.weights.row(t) + j) : 1.0f);
  }
  block_barrier();
  for_columns<kCount>(a.width, [&](int c, auto columns) {
    constexpr int kColumns = decltype(columns)::value;
    Pack<kColumns> sum{};
    for (int first = 0; first < a.k; first += kSlotsAtOnce) {
      Raw<T, kColumns> rows[kSlotsAtOnce] = {};
#pragma unroll
      for (int i = 0; i < kSlotsAtOnce; ++i)
        if (first + i < a.k) rows[i] = load_raw(a.rows.row(place.get(first + i)) + c, columns);
#pragma unroll
      for (int i = 0; i < kSlotsAtOnce; ++i) {
        if (first + i >= a.k) continue;
        const auto row = pack_of<T, kColumns>(rows[i]);
        const float w = weight.get(first + i);
#pragma unroll
        for (int j = 0; j < kColumns; ++j) sum.at[j] = fmaf(w, row.at[j], sum.at[j]);
      }
    }
    if (a.add.data != nullptr) sum = sum + load(a.add.row(t) + c, columns);
    store(a.out.row(t) + c, sum);
  });
}

template <class T>
Rows<const T> optional_rows(const device::ConstView& view) {
  return view.exists() ? rows_of<T>(view) : Rows<const T>{nullptr, 0};
}

template <class T>
void gather(const Queue& queue, const GatherRows& a) {
  // Bits are moved, whatever they mean.
  const auto as = [](const auto& view) { return static_cast<T*>(const_cast<void*>(view.data)); };
  const Rows<T> out{as(a.out), a.out.stride};
  const Rows<const T> in{as(a.in), a.in.stride};
  const auto* index = a.index.as<std::int32_t>();
  const int divisor = narrow<int>(a.divisor);
  const int width = narrow<int>(a.out.cols);
  if (width < kWarpSize) {
    launch(gather_elements<T>, {div_ceil(a.out.size(), kPairs), kPairs}, queue, out, in, index,
           divisor, width, a.out.size());
    return;
  }
  with_width<kFullWidth<T>>(all_aligned(a.out, a.in), [&]<int kCount>(Columns<kCount>) {
    const int threads = row_threads(width, kCount);
    with_kept_packs<kCount>(width, threads, [&]<int kPacks>(KeptPacks<kPacks>) {
      launch(gather_row<T, kCount, kPacks>, {a.out.rows, threads}, queue, out, in, index, divisor,
             width);
    });
  });
}

}  // namespace

void sort_by_expert(const Queue& queue, const SortByExpert& a) {
  check_shapes(a);
  const PairBlocks blocks(a.experts.size());
  const std::int64_t num_experts = a.counts.cols;
  auto* memory = workspace<std::int32_t>(queue, (blocks.num_blocks + 1) * num_experts);
  const Sort sort{.experts = rows_of<std::int32_t>(a.experts),
                  .order = a.order.as<std::int32_t>(),
                  .place = rows_of<std::int32_t>(a.place),
                  .counts = a.counts.as<std::int32_t>(),
                  .before = memory + num_experts,
                  .first = memory,
                  .blocks = blocks,
                  .num_experts = narrow<int>(num_experts),
                  .k = narrow<int>(a.experts.cols)};
  const std::int64_t per_expert = shared_bytes<std::int32_t>(num_experts);
  launch(rank_pairs, {blocks.num_blocks, kPairs, shared_bytes<std::int32_t>(kPairs) + per_expert},
         queue, sort);
  launch(scan_counts, {1, kScanThreads, per_expert}, queue, sort);
  launch(place_pairs, {blocks.num_blocks, kPairs}, queue, sort);
}

void count_choices(const Queue& queue, const CountChoices& a) {
  check_shapes(a);
  const std::int64_t num_experts = a.counts.cols;
  const std::int64_t tokens_of_sequence =
      a.counts.rows == 1 ? a.experts.rows : std::min(a.place.tokens_per_sequence, a.experts.rows);
  const std::int64_t num_parts = std::clamp<std::int64_t>(
      div_ceil(tokens_of_sequence * a.experts.cols, kCountedPairs), 1, kMaxCountBlocks);
  const std::int64_t num_blocks = a.counts.rows * num_parts;
  const CountPairs count{.experts = rows_of<std::int32_t>(a.experts),
                         .counts = rows_of<float>(a.counts),
                         .partials = workspace<std::int32_t>(queue, num_blocks * num_experts),
                         .place = a.place,
                         .num_tokens = a.experts.rows,
                         .num_sequences = a.counts.rows,
                         .num_parts = narrow<int>(num_parts),
                         .num_experts = narrow<int>(num_experts),
                         .k = narrow<int>(a.experts.cols)};
  launch(count_part, {num_blocks, kPairs, shared_bytes<std::int32_t>(kPairs)}, queue, count);
  launch(add_up_parts, {div_ceil(a.counts.size(), kPairs), kPairs}, queue, count);
}

void gather_rows(const Queue& queue, const GatherRows& a) {
  check_shapes(a);
  if (size_of(a.in.dtype) == sizeof(bf16))
    gather<bf16>(queue, a);
  else
    gather<float>(queue, a);
}

void combine_rows(const Queue& queue, const CombineRows& a) {
  check_shapes(a);
  dispatch(a.out.dtype, [&]<class T>(T) {
    const bool aligned = all_aligned(a.rows, a.out) && (!a.add.exists() || all_aligned(a.add));
    with_width<kFullWidth<T>>(aligned, [&]<int kCount>(Columns<kCount>) {
      launch(combine_row<T, kCount>,
             {.num_blocks = a.out.rows,
              .block_threads = row_threads(a.out.cols, kCount),
              .shared_bytes = 2 * shared_bytes<float>(kMaxExpertsPerToken)},
             queue,
             {.rows = rows_of<T>(a.rows),
              .place = rows_of<std::int32_t>(a.place),
              .weights = optional_rows<float>(a.weights),
              .add = optional_rows<T>(a.add),
              .out = rows_of<T>(a.out),
              .k = narrow<int>(a.place.cols),
              .width = narrow<int>(a.out.cols)});
    });
  });
}

}  // namespace espalier::kernels::ESPALIER_GPU
