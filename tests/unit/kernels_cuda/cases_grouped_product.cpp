#include <numeric>

#include "cases.hpp"
#include "kernels/moe/grouped_shapes.hpp"

namespace espalier::kernels::ESPALIER_GPU {
// As kernels/moe/grouped_kernels.hpp declares them.
void grouped_mma(const Queue& queue, const GroupedProblem& a);
void grouped_wgmma(const Queue& queue, const GroupedProblem& a);
}  // namespace espalier::kernels::ESPALIER_GPU

namespace espalier::testing {
namespace {

using device::Output;

using kernels::GroupedKind;
using kernels::GroupedProblem;
/// A kernel by name; null: the one that the operators choose.
using Kernel = void (*)(const kernels::Queue&, const GroupedProblem&);

void forward_by(Kernel kernel, const kernels::Queue& queue, const kernels::GroupedForward& a) {
  if (kernel == nullptr) return kernels::ESPALIER_GPU::grouped_forward(queue, a);
  kernel(queue, {GroupedKind::forward, a.x, a.w, a.y, a.offsets});
}
void input_by(Kernel kernel, const kernels::Queue& queue, const kernels::GroupedBackwardInput& a) {
  if (kernel == nullptr) return kernels::ESPALIER_GPU::grouped_backward_input(queue, a);
  kernel(queue, {GroupedKind::backward_input, a.dy, a.w, a.dx, a.offsets});
}
void weight_by(Kernel kernel, const kernels::Queue& queue,
               const kernels::GroupedBackwardWeight& a) {
  if (kernel == nullptr) return kernels::ESPALIER_GPU::grouped_backward_weight(queue, a);
  kernel(queue, {GroupedKind::backward_weight, a.dy, a.x, a.dw, a.offsets,
                 a.output == Output::accumulate});
}

template <class T>
Verdict grouped_case(const std::vector<std::int64_t>& sizes, std::int64_t N, std::int64_t K,
                     std::int64_t padding, Kernel kernel = nullptr) {
  device::Context context;
  TestQueue queue;
  std::vector<std::int64_t> offsets(sizes.size() + 1, 0);
  std::partial_sum(sizes.begin(), sizes.end(), offsets.begin() + 1);
  const std::int64_t R = offsets.back();
  const auto weight_rows = static_cast<std::int64_t>(sizes.size()) * N;
  Matrix<T> x(R, K, padding), dy(R, N, padding), w(weight_rows, K, padding);
  x.randomize("x");
  dy.randomize("dy");
  w.randomize("w");
  Verdict verdict;
  Matrix<T> want(R, N, padding), got(R, N, padding);
  const auto forward = [&](Matrix<T>& y) {
    return kernels::GroupedForward{x.view(), w.view(), offsets, y.view()};
  };
  kernels::grouped_forward(context, forward(want));
  forward_by(kernel, queue, forward(got));
  verdict.close("y", got, want, tolerance_of<T>(), 1.0);

  Matrix<T> dx_want(R, K, padding), dx_got(R, K, padding);
  const auto input = [&](Matrix<T>& dx) {
    return kernels::GroupedBackwardInput{dy.view(), w.view(), offsets, dx.view()};
  };
  kernels::grouped_backward_input(context, input(dx_want));
  input_by(kernel, queue, input(dx_got));
  verdict.close("dx", dx_got, dx_want, tolerance_of<T>(), 1.0);

  Matrix<float> dw_want(weight_rows, K, padding), dw_got(weight_rows, K, padding);
  dw_got.fill(NAN);
  for (const Output output : {Output::replace, Output::accumulate}) {
    const auto weight = [&](Matrix<float>& dw) {
      return kernels::GroupedBackwardWeight{dy.view(), x.view(), offsets, dw.view(), output};
    };
    kernels::grouped_backward_weight(context, weight(dw_want));
    weight_by(kernel, queue, weight(dw_got));
    verdict.close("dw", dw_got, dw_want, 1e-5, 1.0);
  }
  return verdict;
}

/// What is in other groups' rows, and behind a weight's, must not matter.
Verdict neighbours_case(Kernel kernel) {
  TestQueue queue;
  const std::vector<std::int64_t> offsets = {0, 5, 14};
  Matrix<bf16> x(14, 16), dy(14, 24), w(48, 16), y(14, 24), dx(14, 16);
  Matrix<float> dw(48, 16);
  for (Matrix<bf16>* m : {&x, &dy, &w}) m->fill(1.0);
  for (std::int64_t r = 5; r < 14; ++r) x.at(r, 3) = dy.at(r, 2) = bf16(NAN);
  for (std::int64_t n = 24; n < 48; ++n) w.at(n, 7) = bf16(NAN);
  forward_by(kernel, queue, {x.view(), w.view(), offsets, y.view()});
  input_by(kernel, queue, {dy.view(), w.view(), offsets, dx.view()});
  weight_by(kernel, queue, {dy.view(), x.view(), offsets, dw.view(), Output::replace});
  Verdict verdict;
  for (std::int64_t k = 0; k < 16; ++k) {
    for (std::int64_t r = 0; r < 5; ++r) verdict.equal("dx", 16 * r + k, dx(r, k), 24.0);
    for (std::int64_t n = 0; n < 24; ++n) verdict.equal("dw", 16 * n + k, dw(n, k), 5.0);
  }
  for (std::int64_t n = 0; n < 24; ++n)
    for (std::int64_t r = 0; r < 5; ++r) verdict.equal("y", 24 * r + n, y(r, n), 16.0);
  return verdict;
}

void add(std::vector<Case>& cases, const char* name, Kernel kernel) {
  const auto add = [&](const char* what, const std::vector<std::int64_t>& sizes, std::int64_t N,
                       std::int64_t K, std::int64_t padding) {
    cases.push_back({fmt::format("{}, {}", name, what),
                     [=] { return grouped_case<bf16>(sizes, N, K, padding, kernel); }});
  };
  add("several tiles and parts", {3, 0, 130, 70}, 136, 200, 8);
  add("one group takes all", {0, 65, 0}, 64, 8, 0);
  add("one row each", {1, 1}, 8, 8, 0);
  cases.push_back({fmt::format("{}, neighbours", name), [=] { return neighbours_case(kernel); }});
}

}  // namespace

void add_grouped_wgmma_cases(std::vector<Case>& cases) {
  if (!has_warpgroups()) return;
  const Kernel kernel = kernels::ESPALIER_GPU::grouped_wgmma;
  add(cases, "grouped_wgmma", kernel);
  cases.push_back({"grouped_wgmma, more parts than places, two tiles of columns", [=] {
                     return grouped_case<bf16>({400, 9}, 264, 16, 0, kernel);
                   }});
  cases.push_back({"grouped_wgmma, more parts than places, a warpgroup without rows",
                   [=] { return grouped_case<bf16>({5}, 8, 456, 0, kernel); }});
}

/// More tiles than a GPU takes at one time, of groups of uneven sizes. Hours under emulation.
void add_large_grouped_cases(std::vector<Case>& cases) {
  std::vector<std::int64_t> sizes(64, 0);
  for (std::size_t g = 0; g < sizes.size(); ++g)
    sizes[g] = g % 7 == 3 ? 0 : static_cast<std::int64_t>(37 * g % 251);
  std::vector<std::pair<const char*, Kernel>> kernels = {
      {"mma", kernels::ESPALIER_GPU::grouped_mma}};
  if (has_warpgroups()) kernels.emplace_back("wgmma", kernels::ESPALIER_GPU::grouped_wgmma);
  for (const auto& [name, kernel] : kernels)
    cases.push_back({fmt::format("grouped by {}, 64 groups, N 1536, K 1024", name),
                     [=] { return grouped_case<bf16>(sizes, 1536, 1024, 0, kernel); }});
}

void add_grouped_product_cases(std::vector<Case>& cases) {
  add(cases, "grouped_mma", kernels::ESPALIER_GPU::grouped_mma);
  cases.push_back({"grouped, rows of whole chunks", [] {
                     return grouped_case<bf16>({5, 0, 20}, 24, 40, 0);
                   }});
  cases.push_back({"grouped, no row", [] { return grouped_case<bf16>({0, 0}, 8, 16, 0); }});
  if (has_warpgroups())
    cases.push_back(
        {"grouped, no row for warpgroups", [] {
           return grouped_case<bf16>({0, 0}, 8, 16, 0, kernels::ESPALIER_GPU::grouped_wgmma);
         }});
  cases.push_back({"grouped_reference bf16, rows not aligned", [] {
                     return grouped_case<bf16>({5, 0, 20}, 19, 35, 3);
                   }});
  cases.push_back({"grouped_reference f32, several tiles", [] {
                     return grouped_case<float>({0, 21, 0, 5}, 33, 18, 1);
                   }});
  cases.push_back({"grouped_reference f32, more groups than a launch has", [] {
                     std::vector<std::int64_t> sizes(300, 0);
                     sizes[1] = sizes[255] = sizes[256] = sizes[299] = 2;
                     return grouped_case<float>(sizes, 3, 2, 0);
                   }});
}

}  // namespace espalier::testing
