#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "base/bit_difference.hpp"
#include "base/text.hpp"
#include "base/wide_hash.hpp"
#include "commands/inspect.hpp"
#include "io/checkpoint.hpp"

namespace espalier::commands {
namespace {

namespace fs = std::filesystem;
using io::CheckpointReader;
using Field = CheckpointReader::Field;
using Tensor = CheckpointReader::TensorShape;

constexpr std::int64_t kBlockElements = std::int64_t{1} << 22;  // 16 MiB

/// action(rows of the tensor) for one block after another.
template <class Action>
void for_each_block(const Tensor& tensor, Action&& action) {
  const std::int64_t height =
      std::max<std::int64_t>(1, kBlockElements / std::max<std::int64_t>(1, tensor.cols));
  for (std::int64_t row = 0; row < tensor.rows; row += height)
    action(parallel::Rectangle{row, std::min(row + height, tensor.rows), 0, tensor.cols});
}

void read(CheckpointReader& reader, const Tensor& tensor, const parallel::Rectangle& block,
          Field field, std::vector<float>& values) {
  values.resize(static_cast<std::size_t>(block.size()));
  reader.read(tensor.name, tensor.rows, tensor.cols, block, field, values.data());
}

}  // namespace

void print_hashes(const fs::path& folder) {
  CheckpointReader reader(folder, CheckpointReader::Verify::whole_shards);
  const int num_fields = io::num_fields(reader.info());
  std::vector<float> values;
  for (const Tensor& tensor : reader.tensors())
    for (int field = 0; field < num_fields; ++field) {
      WideHash hash;
      for_each_block(tensor, [&](const parallel::Rectangle& block) {
        read(reader, tensor, block, static_cast<Field>(field), values);
        hash.add(std::as_bytes(std::span(values)));
      });
      fmt::print("{}  {}/{}\n", hash.hex(), io::kFieldNames[static_cast<std::size_t>(field)],
                 tensor.name);
    }
}

bool print_difference(const fs::path& a, const fs::path& b) {
  CheckpointReader of_a(a, CheckpointReader::Verify::whole_shards);
  CheckpointReader of_b(b, CheckpointReader::Verify::whole_shards);
  fmt::print("A  {}: step {}, {}\n", a.string(), of_a.info().step, of_a.info().grid);
  fmt::print("B  {}: step {}, {}\n", b.string(), of_b.info().step, of_b.info().grid);
  bool differ = false;
  std::map<std::string, Tensor> others;
  for (const Tensor& tensor : of_b.tensors()) others.emplace(tensor.name, tensor);
  std::vector<Tensor> common;
  for (const Tensor& tensor : of_a.tensors()) {
    const auto other = others.find(tensor.name);
    if (other == others.end()) {
      fmt::print("only in A: {} ({})\n", tensor.name, shape_of(tensor));
      differ = true;
      continue;
    }
    if (other->second.rows == tensor.rows && other->second.cols == tensor.cols) {
      common.push_back(tensor);
    } else {
      fmt::print("{}: {} in A, {} in B\n", tensor.name, shape_of(tensor), shape_of(other->second));
      differ = true;
    }
    others.erase(other);
  }
  for (const auto& [name, tensor] : others) {
    fmt::print("only in B: {} ({})\n", name, shape_of(tensor));
    differ = true;
  }
  const int fields_a = io::num_fields(of_a.info()), fields_b = io::num_fields(of_b.info());
  if (fields_a != fields_b) {
    fmt::print("moments only in {}\n", fields_a > fields_b ? "A" : "B");
    differ = true;
  }
  std::int64_t num_equal = 0, num_compared = 0;
  bool has_header = false;
  std::vector<float> values_a, values_b;
  for (const Tensor& tensor : common)
    for (int field = 0; field < std::min(fields_a, fields_b); ++field) {
      BitDifference difference;
      for_each_block(tensor, [&](const parallel::Rectangle& block) {
        read(of_a, tensor, block, static_cast<Field>(field), values_a);
        read(of_b, tensor, block, static_cast<Field>(field), values_b);
        difference.add(values_a, values_b);
      });
      ++num_compared;
      if (difference.num_different == 0) {
        ++num_equal;
        continue;
      }
      differ = true;
      if (!std::exchange(has_header, true))
        fmt::print("{:>16} {:>16} {:>12}  {}\n", "elements differ", "of", "by at most", "tensor");
      fmt::print("{:>16} {:>16} {:>12.3e}  {}/{}\n", with_commas(difference.num_different),
                 with_commas(tensor.rows * tensor.cols), difference.largest,
                 io::kFieldNames[static_cast<std::size_t>(field)], tensor.name);
    }
  fmt::print("{} of {} tensors and moments are equal in every bit\n", num_equal, num_compared);
  return differ;
}

}  // namespace espalier::commands
