#include "huggingface/model_folder.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <unordered_map>

#include "base/error.hpp"
#include "huggingface/config_json.hpp"
#include "huggingface/safetensors.hpp"
#include "huggingface/special_tokens.hpp"
#include "huggingface/strict_json.hpp"
#include "io/file_place.hpp"

namespace espalier::huggingface {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using parallel::Rectangle;
using parallel::TensorSpec;

constexpr const char* kSingleName = "model.safetensors";
constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr const char* kHeadName = "lm_head.weight";
constexpr std::size_t kMostLines = 40;  // of a message

/// Everything that is wrong with the tensors, a line each.
class Problems {
 public:
  void add(const std::string& line) {
    if (++count_ <= kMostLines) text_ += "\n  " + line;
  }
  void throw_if_any(const std::string& what) const {
    if (count_ == 0) return;
    const std::string more =
        count_ > kMostLines ? fmt::format("\n  and {} more", count_ - kMostLines) : "";
    fail(ExitStatus::bad_data, "{}:{}{}", what, text_, more);
  }

 private:
  std::size_t count_ = 0;
  std::string text_;
};

/// A name that stays in the folder.
bool is_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

}  // namespace

struct ModelFolder::Implementation {
  struct Place {
    std::size_t file;
    std::size_t tensor;
  };
  fs::path folder;
  config::ModelParameters model;
  std::string dtype;
  std::vector<fs::path> paths;
  std::vector<SafetensorsFile> files;
  std::unordered_map<std::string, Place> places;
  /// Part of our names that the files leave out: a model without LM head is stored without it.
  std::string absent_prefix;
  /// Tensors that the index names and no file holds, and the file that should.
  std::map<std::string, std::string> promised;
  bool untied = false;  ///< config.json ties LM head and embedding, the files hold two weights

  void open(const std::string& name);
  void open_sharded();
  void find_prefix();
  void settle_head();
  void find_dtype();
  std::string embedding_name() const;
  std::string stored_name(const std::string& name) const;
  const StoredTensor* find(const std::string& name, const SafetensorsFile** file = nullptr) const;
  std::vector<io::FilePlace> places_of(const TensorSpec& spec) const;
  bool is_ignored(const std::string& name, const StoredTensor& tensor) const;
  void read(const io::FilePlace& place, const Rectangle& rectangle, float* out) const;
};

ModelFolder::ModelFolder(const fs::path& folder)
    : implementation_(std::make_unique<Implementation>()) {
  Implementation& self = *implementation_;
  self.folder = folder;
  require(is_model_folder(folder), ExitStatus::bad_data,
          "{} is not a Hugging Face model folder: it has no config.json", folder.string());
  self.model = read_config(folder / "config.json", read_small_file(folder / "config.json"));
  read_special_tokens(folder, self.model);
  std::error_code ignored;
  if (fs::exists(folder / kSingleName, ignored))
    self.open(kSingleName);
  else if (fs::exists(folder / kIndexName, ignored))
    self.open_sharded();
  else
    fail(ExitStatus::bad_data,
         "{} has neither {} nor {}: only safetensors are read; write them with transformers' "
         "save_pretrained",
         folder.string(), kSingleName, kIndexName);
  self.find_prefix();
  self.settle_head();
  self.find_dtype();
}

ModelFolder::~ModelFolder() = default;
ModelFolder::ModelFolder(ModelFolder&&) noexcept = default;

const config::ModelParameters& ModelFolder::model() const {
  return implementation_->model;
}
const std::string& ModelFolder::dtype() const {
  return implementation_->dtype;
}
bool ModelFolder::is_untied_by_weights() const {
  return implementation_->untied;
}

void ModelFolder::Implementation::open(const std::string& name) {
  paths.push_back(folder / name);
  files.emplace_back(paths.back());
  const auto& tensors = files.back().tensors();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto [place, is_new] = places.emplace(tensors[i].name, Place{files.size() - 1, i});
    require(is_new, ExitStatus::bad_data, "{}: the tensor {} is also in {}", paths.back().string(),
            tensors[i].name, paths[place->second.file].string());
  }
}

/// The index says which file holds which tensor; the headers must say the same. A tensor that is
/// in no file may be one that the model does not need, such as a tied LM head: require_tensors
/// knows.
void ModelFolder::Implementation::open_sharded() {
  const fs::path path = folder / kIndexName;
  const json index = parse_object(path, read_small_file(path));
  const auto map = index.find("weight_map");
  require(map != index.end() && map->is_object() && !map->empty(), ExitStatus::bad_data,
          "{}: there is no weight_map", path.string());
  std::set<std::string> names;
  for (const auto& [tensor, file] : map->items()) {
    require(file.is_string() && is_file_name(file.get_ref<const std::string&>()),
            ExitStatus::bad_data,
            "{}: weight_map places {} in {}, which is not the name of a file of this folder",
            path.string(), json(tensor).dump(-1, ' ', true, json::error_handler_t::replace),
            file.dump(-1, ' ', true, json::error_handler_t::replace));
    names.insert(file.get<std::string>());
  }
  for (const std::string& name : names) {
    std::error_code ignored;
    require(fs::is_regular_file(folder / name, ignored), ExitStatus::bad_data,
            "{}: the file {} that it names is not there; fetch it too", path.string(), name);
    open(name);
  }
  Problems problems;
  for (const auto& [tensor, file] : map->items()) {
    const auto place = places.find(tensor);
    if (place == places.end())
      promised.emplace(tensor, file.get<std::string>());
    else if (paths[place->second.file].filename() != file.get_ref<const std::string&>())
      problems.add(fmt::format("{} is in {}, not in {}", tensor,
                               paths[place->second.file].filename().string(),
                               file.get_ref<const std::string&>()));
  }
  for (const auto& [tensor, place] : places)
    if (!map->contains(tensor))
      problems.add(
          fmt::format("{} of {} is not named", tensor, paths[place.file].filename().string()));
  problems.throw_if_any(fmt::format("{} does not fit the files beside it", path.string()));
}

void ModelFolder::Implementation::find_prefix() {
  const std::string prefix = model.model_type == "gpt2" ? "transformer." : "model.";
  const bool is_there = std::any_of(places.begin(), places.end(), [&](const auto& entry) {
    return entry.first.starts_with(prefix);
  });
  if (!is_there) absent_prefix = prefix;
}

/// A tied model may be stored with the one weight under the name of the LM head (stored_name then
/// finds it there), or with both. When these differ, only the untied model computes what the files
/// hold; transformers 5 takes them so, transformers 4 drops the LM head.
void ModelFolder::Implementation::settle_head() {
  if (!model.tie_word_embeddings) return;
  const auto head = places.find(kHeadName);
  const auto embedding = places.find(stored_name(embedding_name()));
  if (head == places.end() || embedding == places.end() || head == embedding) return;
  const SafetensorsFile& head_file = files[head->second.file];
  const SafetensorsFile& embedding_file = files[embedding->second.file];
  const StoredTensor& a = head_file.tensors()[head->second.tensor];
  const StoredTensor& b = embedding_file.tensors()[embedding->second.tensor];
  if (a.shape != b.shape) return;  // require_tensors names the one that does not fit
  untied = !is_readable(a.dtype) || !is_readable(b.dtype);
  constexpr std::uint64_t kAtOnce = std::uint64_t{1} << 20;
  std::vector<float> ours(kAtOnce), theirs(kAtOnce);
  for (std::uint64_t first = 0; !untied && first < a.num_elements(); first += kAtOnce) {
    const std::uint64_t count = std::min(kAtOnce, a.num_elements() - first);
    head_file.read_elements(a, first, count, ours.data());
    embedding_file.read_elements(b, first, count, theirs.data());
    untied = std::memcmp(ours.data(), theirs.data(), count * sizeof(float)) != 0;
  }
  if (untied) model.tie_word_embeddings = false;
}

void ModelFolder::Implementation::find_dtype() {
  bool has_f32 = false, has_f16 = false, has_bf16 = false;
  for (const SafetensorsFile& file : files)
    for (const StoredTensor& tensor : file.tensors()) {
      has_f32 |= tensor.dtype == "F32";
      has_f16 |= tensor.dtype == "F16";
      has_bf16 |= tensor.dtype == "BF16";
    }
  // Neither 16-bit format holds the values of the other.
  dtype = has_f32 || (has_f16 && has_bf16) ? "float32"
          : has_bf16                       ? "bfloat16"
          : has_f16                        ? "float16"
                                           : "float32";
}

std::string ModelFolder::Implementation::embedding_name() const {
  return model.model_type == "gpt2" ? "transformer.wte.weight" : "model.embed_tokens.weight";
}

std::string ModelFolder::Implementation::stored_name(const std::string& name) const {
  const std::string stored = !absent_prefix.empty() && name.starts_with(absent_prefix)
                                 ? name.substr(absent_prefix.size())
                                 : name;
  const bool is_under_other_name = model.tie_word_embeddings && name == embedding_name() &&
                                   !places.contains(stored) && places.contains(kHeadName);
  return is_under_other_name ? kHeadName : stored;
}

const StoredTensor* ModelFolder::Implementation::find(const std::string& name,
                                                      const SafetensorsFile** file) const {
  const auto found = places.find(stored_name(name));
  if (found == places.end()) return nullptr;
  if (file != nullptr) *file = &files[found->second.file];
  return &files[found->second.file].tensors()[found->second.tensor];
}

/// As the files have it: transformers 5 can keep experts together, too.
std::vector<io::FilePlace> ModelFolder::Implementation::places_of(const TensorSpec& spec) const {
  if (!spec.place.expert_parts.empty() && find(spec.name) != nullptr) return {io::place_of(spec)};
  return io::separate_places_of(spec);
}

/// What transformers leaves unread as well.
bool ModelFolder::Implementation::is_ignored(const std::string& name,
                                             const StoredTensor& tensor) const {
  if (name.ends_with("rotary_emb.inv_freq")) return true;
  if (model.model_type == "gpt2" &&
      (name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias")))
    return true;
  return model.tie_word_embeddings && name == kHeadName &&
         tensor.shape == std::vector<std::int64_t>{model.vocab_size, model.hidden_size};
}

void ModelFolder::require_tensors(std::span<const TensorSpec> table) const {
  const Implementation& self = *implementation_;
  Problems problems;
  std::set<std::string> used;
  const auto check = [&](const io::FilePlace& place) {
    if (!used.insert(self.stored_name(place.name)).second) return;  // three rows of one c_attn
    const StoredTensor* stored = self.find(place.name);
    const auto promise = self.promised.find(self.stored_name(place.name));
    if (stored == nullptr && promise != self.promised.end())
      problems.add(fmt::format("{} is missing: {} places it in {}", place.name, kIndexName,
                               promise->second));
    else if (stored == nullptr)
      problems.add(fmt::format("{} is missing", place.name));
    else if (stored->shape != place.shape)
      problems.add(fmt::format("{} has the shape {}, the model has {}", stored->name,
                               describe_shape(stored->shape), describe_shape(place.shape)));
    else if (!is_readable(stored->dtype))
      problems.add(fmt::format("{} has the dtype {}; F32, BF16 and F16 are read", stored->name,
                               stored->dtype));
  };
  for (const TensorSpec& spec : table)
    for (const io::FilePlace& place : self.places_of(spec)) check(place);
  std::map<std::string, const StoredTensor*> others;
  for (const SafetensorsFile& file : self.files)
    for (const StoredTensor& tensor : file.tensors())
      if (!used.contains(tensor.name) && !self.is_ignored(tensor.name, tensor))
        others.emplace(tensor.name, &tensor);
  for (const auto& [name, tensor] : others)
    problems.add(
        fmt::format("{} {} is no weight of this model", name, describe_shape(tensor->shape)));
  problems.throw_if_any(fmt::format(
      "the tensors in {} are not those of the model in its config.json", self.folder.string()));
}

/// The rectangle of a row of the table as its tensor holds it, or a part of that row.
void ModelFolder::Implementation::read(const io::FilePlace& place, const Rectangle& rectangle,
                                       float* out) const {
  const SafetensorsFile* file = nullptr;
  const StoredTensor* stored = find(place.name, &file);
  require(stored != nullptr && stored->shape == place.shape && is_readable(stored->dtype),
          ExitStatus::bad_data, "{}: {} is missing, or not {}", folder.string(), place.name,
          describe_shape(place.shape));
  const auto width = static_cast<std::uint64_t>(place.cols);
  const auto rows = static_cast<std::uint64_t>(rectangle.rows());
  const auto cols = static_cast<std::uint64_t>(rectangle.cols());
  if (!place.transposed) {
    const auto first = static_cast<std::uint64_t>(place.offset + rectangle.row_begin) * width +
                       static_cast<std::uint64_t>(rectangle.col_begin);
    if (cols == width) return file->read_elements(*stored, first, rows * cols, out);
    for (std::uint64_t row = 0; row < rows; ++row)
      file->read_elements(*stored, first + row * width, cols, out + row * cols);
    return;
  }
  // A row of the file holds one of our columns.
  std::vector<float> column(rows);
  for (std::uint64_t col = 0; col < cols; ++col) {
    const auto first = (static_cast<std::uint64_t>(rectangle.col_begin) + col) * width +
                       static_cast<std::uint64_t>(place.offset + rectangle.row_begin);
    file->read_elements(*stored, first, rows, column.data());
    for (std::uint64_t row = 0; row < rows; ++row) out[row * cols + col] = column[row];
  }
}

void ModelFolder::read(const TensorSpec& spec, const Rectangle& rectangle, float* out) const {
  if (rectangle.empty()) return;
  for (const io::FilePlace& place : implementation_->places_of(spec)) {
    Rectangle part = intersect(rectangle, {place.first_row, place.first_row + place.num_rows,
                                           rectangle.col_begin, rectangle.col_end});
    if (part.empty()) continue;
    float* to = out + (part.row_begin - rectangle.row_begin) * rectangle.cols();
    part.row_begin -= place.first_row;
    part.row_end -= place.first_row;
    implementation_->read(place, part, to);
  }
}

std::string describe_untied(const fs::path& folder) {
  return fmt::format(
      "{}: config.json ties LM head and embedding, but the files hold an lm_head.weight of its "
      "own: the model is taken untied, with tie_word_embeddings = false",
      folder.string());
}

bool is_model_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path / "config.json", ignored);
}

}  // namespace espalier::huggingface
