#include "huggingface/folder_writer.hpp"

#include <fcntl.h>

#include <unordered_map>

#include "base/error.hpp"
#include "base/text.hpp"
#include "huggingface/strict_json.hpp"
#include "io/file_place.hpp"

namespace espalier::huggingface {

namespace fs = std::filesystem;
using parallel::TensorSpec;

namespace {

std::string dtype_in_files(const std::string& name) {
  return name == "bfloat16" ? "BF16" : name == "float16" ? "F16" : "F32";
}

}  // namespace

void write_text_file(const fs::path& file, std::string_view text) {
  io::FileDescriptor out(file, O_WRONLY | O_CREAT | O_TRUNC);
  out.write_at(text.data(), text.size(), 0);
  out.flush();
}

FolderWriter::FolderWriter(fs::path folder, ExportedConfig config,
                           std::span<const TensorSpec> table, std::uint64_t shard_bytes)
    : folder_(std::move(folder)), config_(std::move(config)) {
  std::unordered_map<std::string, std::size_t> known;
  for (const TensorSpec& spec : table) {
    const std::vector<io::FilePlace> places = io::separate_places_of(spec);
    const auto [entry, is_new] = known.emplace(places.front().name, units_.size());
    if (is_new) {
      Unit unit;
      for (const io::FilePlace& place : places) {
        StoredTensor stored;
        stored.name = place.name;
        stored.dtype = dtype_in_files(config_.dtype);
        stored.shape = place.shape;
        unit.tensors.push_back({.stored = std::move(stored), .first_row = place.first_row});
      }
      units_.push_back(std::move(unit));
    }
    Unit& unit = units_[entry->second];
    ESPALIER_ASSERT(unit.tensors.front().stored.shape == places.front().shape, "{}", spec.name);
    unit.rows.push_back(&spec);
  }

  std::vector<std::vector<StoredTensor>> contents;
  std::uint64_t bytes = 0;
  for (Unit& unit : units_)
    for (Tensor& tensor : unit.tensors) {
      const std::uint64_t own = tensor.stored.num_elements() * bytes_of(tensor.stored.dtype);
      if (contents.empty() || (bytes > 0 && bytes + own > shard_bytes)) {
        contents.emplace_back();
        bytes = 0;
      }
      bytes += own;
      tensor.file = contents.size() - 1;
      contents.back().push_back(tensor.stored);
    }
  for (std::size_t i = 0; i < contents.size(); ++i) {
    File file;
    file.name = contents.size() == 1
                    ? std::string("model.safetensors")
                    : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, contents.size());
    file.header = make_header(contents[i]);
    file.bytes = file_bytes(contents[i], file.header);
    files_.push_back(std::move(file));
  }
  std::vector<std::size_t> next(contents.size(), 0);
  for (Unit& unit : units_)
    for (Tensor& tensor : unit.tensors) tensor.stored = contents[tensor.file][next[tensor.file]++];
  open_files_.resize(files_.size());
}

std::uint64_t FolderWriter::Unit::bytes() const {
  std::uint64_t sum = 0;
  for (const Tensor& tensor : tensors) sum += tensor.stored.bytes;
  return sum;
}

std::uint64_t FolderWriter::total_bytes() const {
  std::uint64_t bytes = 0;
  for (const Unit& unit : units_) bytes += unit.bytes();
  return bytes;
}

std::size_t FolderWriter::num_tensors() const {
  std::size_t count = 0;
  for (const Unit& unit : units_) count += unit.tensors.size();
  return count;
}

std::vector<std::string> FolderWriter::describe() const {
  std::vector<std::string> lines = {"config.json", "generation_config.json"};
  for (const File& file : files_)
    lines.push_back(fmt::format("{}  {}", file.name, human_bytes(static_cast<double>(file.bytes))));
  if (files_.size() > 1) lines.emplace_back("model.safetensors.index.json");
  return lines;
}

void FolderWriter::create() const {
  write_text_file(folder_ / "config.json", write_config(config_));
  write_text_file(folder_ / "generation_config.json", write_generation_config(config_));
  for (const File& file : files_) {
    io::require_file_size(file.bytes, folder_ / file.name);
    io::FileDescriptor out(folder_ / file.name, O_WRONLY | O_CREAT | O_TRUNC);
    out.resize(file.bytes);
    out.write_at(file.header.data(), file.header.size(), 0);
    out.flush();
  }
  if (files_.size() == 1) return;
  nlohmann::ordered_json index;
  index["metadata"] = {{"total_size", total_bytes()}};
  for (const Unit& unit : units_)
    for (const Tensor& tensor : unit.tensors)
      index["weight_map"][tensor.stored.name] = files_[tensor.file].name;
  write_text_file(folder_ / "model.safetensors.index.json", index.dump(2) + "\n");
}

io::FileDescriptor& FolderWriter::open(std::size_t file) {
  if (open_files_[file].get() < 0)
    open_files_[file] = io::FileDescriptor(folder_ / files_[file].name, O_WRONLY);
  return open_files_[file];
}

void FolderWriter::write(const Unit& unit,
                         const std::function<void(const TensorSpec&, float*)>& read) {
  std::uint64_t count = 0;
  for (const Tensor& tensor : unit.tensors) count += tensor.stored.num_elements();
  values_.resize(count);
  for (const TensorSpec* spec : unit.rows) {
    const io::FilePlace place = io::place_of(*spec);
    if (!place.transposed) {
      read(*spec, values_.data() + place.offset * place.cols);
      continue;
    }
    row_values_.resize(static_cast<std::size_t>(spec->num_elements()));
    read(*spec, row_values_.data());
    for (std::int64_t col = 0; col < spec->cols; ++col) {
      float* to = values_.data() + col * place.cols + place.offset;
      for (std::int64_t row = 0; row < spec->rows; ++row)
        to[row] = row_values_[static_cast<std::size_t>(row * spec->cols + col)];
    }
  }
  const std::int64_t cols = unit.rows.front()->cols;
  for (const Tensor& tensor : unit.tensors)
    write_elements(open(tensor.file), tensor.stored, 0, tensor.stored.num_elements(),
                   values_.data() + tensor.first_row * cols);
}

void FolderWriter::flush() {
  for (io::FileDescriptor& file : open_files_)
    if (file.get() >= 0) file.flush();
}

}  // namespace espalier::huggingface
