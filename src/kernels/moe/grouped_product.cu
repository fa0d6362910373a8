// Grouped products on a GPU: the choice of the kernel, and one for any operands.
#include "kernels/moe/grouped_product.hpp"

#include "kernels/backends.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/moe/grouped_kernels.hpp"
#include "kernels/moe/grouped_provider.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

/// A tile of the result is kSide x kSide, a thread per element, and so are those of the operands.
constexpr int kSide = 16;
constexpr int kThreads = kSide * kSide;

/// An operand as numbers at (row or column of the result, term of its sum).
template <class T>
struct Operand {
  const T* data;
  std::int64_t stride, term_stride;

  ESPALIER_DEVICE float at(int i, int term) const {
    return to_float(read_element(data + i * stride + term * term_stride));
  }
};

template <class T, class Out>
struct Reference {
  Rows<const T> left, right;
  Rows<Out> out;
  GroupedKind kind;
  int rows_of_weight, num_cols, num_terms;  ///< of weights: the terms are the group's rows
  bool accumulate;
};

template <class T, class Out>
ESPALIER_KERNEL(kThreads)
reference_tile(Reference<T, Out> a, GroupTiles tiles) {
  SharedAllocator shared;
  const auto lefts = shared.take<float>(kThreads);
  const auto rights = shared.take<float>(kThreads);
  const auto place = tiles.place(static_cast<int>(block_index()));
  const bool of_weights = a.kind == GroupedKind::backward_weight;
  const std::int64_t first_row_of_weight =
      static_cast<std::int64_t>(place.group) * a.rows_of_weight;
  const T* left_rows = a.left.row(place.first_row);
  const T* right_rows = a.right.row(of_weights ? place.first_row : first_row_of_weight);
  const Operand<T> left = of_weights ? Operand<T>{left_rows, 1, a.left.stride}
                                     : Operand<T>{left_rows, a.left.stride, 1};
  const Operand<T> right = a.kind == GroupedKind::forward
                               ? Operand<T>{right_rows, a.right.stride, 1}
                               : Operand<T>{right_rows, 1, a.right.stride};
  const int num_rows = of_weights ? a.rows_of_weight : place.num_rows;
  const int num_terms = of_weights ? place.num_rows : a.num_terms;
  const int y = thread_index() / kSide, x = thread_index() % kSide;
  const int row = place.row_tile * kSide + y;
  const int col = place.col_tile * kSide + x;
  const int other = place.col_tile * kSide + y;  // the column of which the thread brings a term
  float sum = 0.0f;
  for (int first = 0; first < num_terms; first += kSide) {
    const int term = first + x;
    lefts.set(y * kSide + x, row < num_rows && term < num_terms ? left.at(row, term) : 0.0f);
    rights.set(y * kSide + x,
               other < a.num_cols && term < num_terms ? right.at(other, term) : 0.0f);
    block_barrier();
    const int count = num_terms - first < kSide ? num_terms - first : kSide;
    for (int i = 0; i < count; ++i)
      sum = fmaf(lefts.get(y * kSide + i), rights.get(x * kSide + i), sum);
    block_barrier();
  }
  if (row >= num_rows || col >= a.num_cols) return;
  Out* out = a.out.row((of_weights ? first_row_of_weight : place.first_row) + row) + col;
  if (a.accumulate) sum += to_float(read_element(out));
  write_element(out, from_float<Out>(sum));
}

template <class T, class Out>
void launch_reference(const Queue& queue, const GroupedProblem& a) {
  for_group_launches(a, kSide, kSide, [&](const GroupTiles& tiles, std::int64_t first_group) {
    const std::int64_t first_row = first_group * a.rows_of_weight();
    Reference<T, Out> call{.left = rows_of<T>(a.left),
                           .right = rows_of<T>(a.right),
                           .out = rows_of<Out>(a.out),
                           .kind = a.kind,
                           .rows_of_weight = narrow<int>(a.rows_of_weight()),
                           .num_cols = narrow<int>(a.out.cols),
                           .num_terms = narrow<int>(a.left.cols),
                           .accumulate = a.accumulate};
    if (a.of_weights())
      call.out.data += first_row * call.out.stride;
    else
      call.right.data += first_row * call.right.stride;
    launch(reference_tile<T, Out>,
           {.num_blocks = tiles.num_tiles(),
            .block_threads = kThreads,
            .shared_bytes = 2 * shared_bytes<float>(kThreads)},
           queue, call, tiles);
  });
}

void multiply(const Queue& queue, const GroupedProblem& a) {
  const bool whole_chunks =
      all_aligned(a.left, a.right, a.out) && a.left.cols % 8 == 0 && a.out.cols % 8 == 0;
  if (a.left.dtype != DType::bf16 || !whole_chunks) return grouped_reference(queue, a);
  if (has_grouped_wgmma()) return grouped_wgmma(queue, a);
  grouped_mma(queue, a);
}

}  // namespace

void grouped_reference(const Queue& queue, const GroupedProblem& a) {
  dispatch(a.left.dtype, [&]<class T>(T) {
    if (a.of_weights())
      launch_reference<T, float>(queue, a);
    else
      launch_reference<T, T>(queue, a);
  });
}

bool has_grouped(GroupedProvider provider) {
  // The emulated GPU, whose compute capability is 0, has the instructions of all.
  return provider != GroupedProvider::wgmma || compute_capability() == 0 || has_grouped_wgmma();
}

void grouped_product(const Queue& queue, GroupedProvider provider, const GroupedProblem& a) {
  switch (provider) {
    case GroupedProvider::reference:
      return grouped_reference(queue, a);
    case GroupedProvider::mma:
      return grouped_mma(queue, a);
    case GroupedProvider::wgmma:
      return grouped_wgmma(queue, a);
  }
}

void grouped_forward(const Queue& queue, const GroupedForward& a) {
  check_shapes(a);
  multiply(
      queue,
      {.kind = GroupedKind::forward, .left = a.x, .right = a.w, .out = a.y, .offsets = a.offsets});
}

void grouped_backward_input(const Queue& queue, const GroupedBackwardInput& a) {
  check_shapes(a);
  multiply(queue, {.kind = GroupedKind::backward_input,
                   .left = a.dy,
                   .right = a.w,
                   .out = a.dx,
                   .offsets = a.offsets});
}

void grouped_backward_weight(const Queue& queue, const GroupedBackwardWeight& a) {
  check_shapes(a);
  multiply(queue, {.kind = GroupedKind::backward_weight,
                   .left = a.dy,
                   .right = a.x,
                   .out = a.dw,
                   .offsets = a.offsets,
                   .accumulate = a.output == device::Output::accumulate});
}

}  // namespace espalier::kernels::ESPALIER_GPU
