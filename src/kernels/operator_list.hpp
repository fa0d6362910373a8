#pragma once
// Every operator that takes its arguments as one structure, once: from this list come its
// declarations for every backend (kernels/backends.hpp) and the choice between backends
// (operators.cpp).
#include "kernels/attention/attention.hpp"
#include "kernels/attention/qk_norm_rope.hpp"
#include "kernels/bias.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/embedding/batch_inputs.hpp"
#include "kernels/embedding/embedding.hpp"
#include "kernels/embedding/positions.hpp"
#include "kernels/loss/cross_entropy.hpp"
#include "kernels/mlp/gelu.hpp"
#include "kernels/mlp/swiglu.hpp"
#include "kernels/moe/dispatch.hpp"
#include "kernels/moe/expert_swiglu.hpp"
#include "kernels/moe/grouped_product.hpp"
#include "kernels/moe/router.hpp"
#include "kernels/norm/layernorm.hpp"
#include "kernels/norm/rmsnorm.hpp"
#include "kernels/optim/adamw.hpp"

// clang-format off
#define ESPALIER_OPERATORS(X)                              \
  X(attention_forward, AttentionForward)                   \
  X(attention_backward, AttentionBackward)                 \
  X(balance_loss, BalanceLoss)                             \
  X(batch_inputs, BatchInputs)                             \
  X(bias_backward, BiasBackward)                           \
  X(combine_rows, CombineRows)                             \
  X(count_choices, CountChoices)                           \
  X(cross_entropy_statistics, CrossEntropyStatistics)      \
  X(cross_entropy_combine, CrossEntropyCombine)            \
  X(cross_entropy_backward, CrossEntropyBackward)          \
  X(embedding_forward, EmbeddingForward)                   \
  X(embedding_backward, EmbeddingBackward)                 \
  X(expert_swiglu_backward, ExpertSwigluBackward)          \
  X(gather_rows, GatherRows)                               \
  X(gelu_forward, GeluForward)                             \
  X(gelu_backward, GeluBackward)                           \
  X(grouped_forward, GroupedForward)                       \
  X(grouped_backward_input, GroupedBackwardInput)          \
  X(grouped_backward_weight, GroupedBackwardWeight)        \
  X(layernorm_forward, LayerNormForward)                   \
  X(layernorm_backward, LayerNormBackward)                 \
  X(positions_forward, PositionsForward)                   \
  X(positions_backward, PositionsBackward)                 \
  X(qk_norm_rope_forward, QkNormRopeForward)               \
  X(qk_norm_rope_backward, QkNormRopeBackward)             \
  X(residual_add, ResidualAdd)                             \
  X(rmsnorm_forward, RmsNormForward)                       \
  X(rmsnorm_backward, RmsNormBackward)                     \
  X(router_forward, RouterForward)                         \
  X(router_backward, RouterBackward)                       \
  X(sort_by_expert, SortByExpert)                          \
  X(swiglu_forward, SwigluForward)                         \
  X(swiglu_backward, SwigluBackward)
// clang-format on
