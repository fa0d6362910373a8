#include "cases.hpp"

namespace espalier::testing {
namespace {

template <class T>
struct Tensor {
  Matrix<float> gradient, master, m, v;
  Matrix<T> weight;

  Tensor(std::int64_t rows, std::int64_t cols, std::int64_t padding)
      : gradient(rows, cols, padding),
        master(rows, cols, padding),
        m(rows, cols, padding),
        v(rows, cols, padding),
        weight(rows, cols, padding) {
    gradient.randomize("gradient");
    master.randomize("master", 0.1);
    m.randomize("m", 0.1);
    v.randomize("v", 0.01, 0.5);
  }
  kernels::AdamW step(float weight_decay) {
    return {.gradient = gradient.view(),
            .master = master.view(),
            .m = m.view(),
            .v = v.view(),
            .weight = weight.view(),
            .learning_rate = 3e-3f,
            .beta1 = 0.9f,
            .beta2 = 0.95f,
            .eps = 1e-8f,
            .weight_decay = weight_decay,
            .gradient_scale = 0.7f,
            .step = 3};
  }
};

struct Size {
  std::int64_t rows, cols, padding;
};

template <class T>
Verdict adamw_case(const std::vector<Size>& sizes) {
  device::Context context;
  TestQueue queue;
  std::vector<Tensor<T>> want, got;
  for (const auto [rows, cols, padding] : sizes) {
    want.emplace_back(rows, cols, padding);
    got.emplace_back(rows, cols, padding);
  }
  std::vector<kernels::AdamW> steps;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const float weight_decay = i % 2 == 0 ? 0.1f : 0.0f;
    const kernels::AdamW step = want[i].step(weight_decay);
    kernels::adamw(context, {&step, 1});
    steps.push_back(got[i].step(weight_decay));
  }
  kernels::ESPALIER_GPU::adamw(queue, steps);
  Verdict verdict;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    verdict.close("m", got[i].m, want[i].m, 1e-6, 0.1);
    verdict.close("v", got[i].v, want[i].v, 1e-6);
    verdict.close("master", got[i].master, want[i].master, 1e-6, 1e-2);
    verdict.close("weight", got[i].weight, want[i].weight, sizeof(T) == 2 ? 0x1p-7 : 1e-6, 1e-2);
  }
  return verdict;
}

template <class T>
void add(std::vector<Case>& cases) {
  const auto named = [](const char* what) {
    return fmt::format("adamw {}, {}", kTypeName<T>, what);
  };
  cases.push_back({named("aligned"), [] {
                     return adamw_case<T>({{2, 4100, 0}, {1, 64, 0}, {3, 40, 8}, {1, 1, 0}});
                   }});
  cases.push_back({named("rows not aligned"), [] {
                     return adamw_case<T>({{3, 37, 3}, {0, 5, 0}, {2, 129, 0}});
                   }});
  cases.push_back({named("more than one launch holds"), [] {
                     return adamw_case<T>(std::vector<Size>(30, Size{1, 33, 0}));
                   }});
}

}  // namespace

void add_adamw_cases(std::vector<Case>& cases) {
  add<float>(cases);
  add<bf16>(cases);
}

}  // namespace espalier::testing
