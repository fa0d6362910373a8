#pragma once
// The legend of dimensions. Every comment in the program uses these letters and no others.
//
//   B  sequences in a micro-batch          T  = B*S_loc, tokens of a micro-batch on a rank
//   S  sequence length                     H  hidden_size
//   L  num_hidden_layers                   A  num_attention_heads (query heads)
//   K  num_key_value_heads                 D  head_dim (A*D need not equal H)
//   F  intermediate_size                   V  vocab_size (rows of the embedding)
//   E  num_experts                         k  num_experts_per_tok
//   Fe moe_intermediate_size
//
// A letter is a global, logical size. A rank's share has its own name:
//
//   A_loc, K_loc, F_loc, V_loc   after the tensor-parallel split
//   E_loc                        experts of a rank: E/expert
//   S_loc                        tokens of a sequence on a context-parallel rank: S/context
//   T_loc                        tokens held between blocks: T, or T/tensor under sequence
//                                parallelism
//
// Shapes are written row-major, slowest first, with the dtype: // (T, A_loc*D) bf16
