#include <catch2/catch.hpp>
#include <numeric>

#include "base/error.hpp"
#include "folder.hpp"
#include "huggingface/folder_writer.hpp"
#include "huggingface/model_folder.hpp"
#include "huggingface/safetensors.hpp"

using namespace espalier;
using namespace espalier::huggingface;
using parallel::TensorSpec;

namespace {

config::ModelParameters tiny_gpt2() {
  config::ModelParameters m;
  m.model_type = "gpt2";
  m.vocab_size = 16;
  m.hidden_size = 4;
  m.intermediate_size = 8;
  m.num_hidden_layers = 1;
  m.num_attention_heads = 2;
  m.num_key_value_heads = 2;
  m.head_dim = 2;
  m.max_position_embeddings = 8;
  m.tie_word_embeddings = true;
  return m;
}

/// Three of our rows in one transposed tensor, their biases in one vector, and one plain matrix.
std::vector<TensorSpec> joined_table() {
  const std::string joined = "transformer.h.0.attn.c_attn";
  std::vector<TensorSpec> table;
  for (int part = 0; part < 3; ++part) {
    table.push_back({.name = "part" + std::to_string(part) + ".weight", .rows = 4, .cols = 6});
    table.back().place = {joined + ".weight", true, 4 * part, 12};
    table.push_back({.name = "part" + std::to_string(part) + ".bias", .rows = 4});
    table.back().is_vector = true;
    table.back().place = {joined + ".bias", false, 4 * part, 12};
  }
  table.push_back({.name = "transformer.wte.weight", .rows = 16, .cols = 4});
  return table;
}

/// Value of element (r, c) of row `row` of the table.
float value(const std::vector<TensorSpec>& table, const TensorSpec& spec, std::int64_t r,
            std::int64_t c) {
  return static_cast<float>((&spec - table.data()) * 1000 + r * 10 + c);
}

void write_all(const std::vector<TensorSpec>& table, FolderWriter& writer) {
  writer.create();
  for (const auto& unit : writer.units())
    writer.write(unit, [&](const TensorSpec& spec, float* out) {
      for (std::int64_t r = 0; r < spec.rows; ++r)
        for (std::int64_t c = 0; c < spec.cols; ++c) *out++ = value(table, spec, r, c);
    });
  writer.flush();
}

}  // namespace

TEST_CASE("rows that share a transposed tensor come back, whole and in parts") {
  const auto table = joined_table();
  for (const std::uint64_t shard_bytes : {std::uint64_t{1}, std::uint64_t{1} << 30}) {
    const testing::ScratchFolder scratch;
    FolderWriter writer(scratch.path(), {.model = tiny_gpt2(), .dtype = "float32"}, table,
                        shard_bytes);
    CHECK(writer.num_tensors() == 3);
    CHECK(writer.units().size() == 3);
    write_all(table, writer);
    const ModelFolder folder(scratch.path());
    CHECK(folder.dtype() == "float32");
    CHECK(folder.model().hidden_size == 4);
    folder.require_tensors(table);
    for (const TensorSpec& spec : table)
      for (const parallel::Rectangle part : {parallel::Rectangle{0, spec.rows, 0, spec.cols},
                                             parallel::Rectangle{1, 3, spec.cols / 2, spec.cols},
                                             parallel::Rectangle{3, 4, 0, (spec.cols + 1) / 2}}) {
        std::vector<float> values(static_cast<std::size_t>(part.size()), -1.0F);
        folder.read(spec, part, values.data());
        std::size_t i = 0;
        for (std::int64_t r = part.row_begin; r < part.row_end; ++r)
          for (std::int64_t c = part.col_begin; c < part.col_end; ++c)
            CHECK(values[i++] == value(table, spec, r, c));
      }
  }
}

TEST_CASE("a joined tensor lies in the file as transformers has it: (in, out), q then k then v") {
  const auto table = joined_table();
  const testing::ScratchFolder scratch;
  FolderWriter writer(scratch.path(), {.model = tiny_gpt2(), .dtype = "float32"}, table, 1 << 30);
  write_all(table, writer);
  const SafetensorsFile file(scratch / "model.safetensors");
  const StoredTensor& joined = file.tensors().front();
  REQUIRE(joined.name == "transformer.h.0.attn.c_attn.weight");
  CHECK(joined.shape == std::vector<std::int64_t>{6, 12});
  std::vector<float> values(72);
  file.read_elements(joined, 0, 72, values.data());
  for (std::int64_t in = 0; in < 6; ++in)
    for (std::int64_t out = 0; out < 12; ++out)
      CHECK(values[static_cast<std::size_t>(in * 12 + out)] ==
            value(table, table[static_cast<std::size_t>(2 * (out / 4))], out % 4, in));
}

TEST_CASE("tensors that are missing, of another shape or too many are listed together") {
  const auto table = joined_table();
  const testing::ScratchFolder scratch;
  FolderWriter writer(scratch.path(), {.model = tiny_gpt2(), .dtype = "bfloat16"}, table, 1 << 30);
  write_all(table, writer);
  const ModelFolder folder(scratch.path());
  CHECK(folder.dtype() == "bfloat16");
  auto other = table;
  other.back().rows = 17;
  other.push_back({.name = "transformer.wpe.weight", .rows = 8, .cols = 4});
  std::erase_if(other, [](const TensorSpec& spec) { return spec.name.ends_with(".bias"); });
  CHECK_THROWS_WITH(folder.require_tensors(other),
                    Catch::Contains("transformer.wpe.weight is missing") &&
                        Catch::Contains("(16, 4)") && Catch::Contains("(17, 4)") &&
                        Catch::Contains("c_attn.bias"));
}

TEST_CASE("a folder without config.json or without safetensors is no model folder") {
  const testing::ScratchFolder scratch;
  CHECK_FALSE(is_model_folder(scratch.path()));
  CHECK_THROWS_AS(ModelFolder(scratch.path()), Error);
  testing::write_file(scratch / "config.json", R"({"model_type": "llama"})");
  CHECK(is_model_folder(scratch.path()));
  CHECK_THROWS_WITH(ModelFolder(scratch.path()), Catch::Contains("save_pretrained"));
}

namespace {

using Values = std::vector<float>;

constexpr const char* kTied = R"({"model_type": "gpt2", "vocab_size": 2, "n_embd": 2, "n_layer": 1,
  "n_head": 1, "n_positions": 2})";
const std::string kEmbedding = "transformer.wte.weight", kHead = "lm_head.weight";

/// A folder of f32 tensors (2, 2) by name, whole or (`index` not empty) behind an index.
void write_tensors(const testing::ScratchFolder& folder,
                   const std::vector<std::pair<std::string, Values>>& tensors,
                   const std::string& index = {}) {
  std::vector<StoredTensor> stored;
  std::string data;
  for (const auto& [name, values] : tensors) {
    stored.push_back({.name = name, .dtype = "F32", .shape = {2, 2}});
    data += testing::bytes_of(values);
  }
  const std::string header = make_header(stored);
  testing::write_file(folder / "config.json", kTied);
  testing::write_file(folder / (index.empty() ? "model.safetensors" : "a.safetensors"),
                      header + data);
  if (!index.empty()) testing::write_file(folder / "model.safetensors.index.json", index);
}

const std::vector<TensorSpec> kEmbeddingAlone = {
    {.name = "transformer.wte.weight", .rows = 2, .cols = 2}};
const std::vector<TensorSpec> kBoth = {{.name = "transformer.wte.weight", .rows = 2, .cols = 2},
                                       {.name = "lm_head.weight", .rows = 2, .cols = 2}};

Values read_whole(const ModelFolder& folder, const TensorSpec& spec) {
  Values values(4);
  folder.read(spec, {0, 2, 0, 2}, values.data());
  return values;
}

}  // namespace

TEST_CASE("a tied model with another LM head in its files is taken untied") {
  const Values embedding{1, 2, 3, 4};
  for (const Values& head : {Values{1, 2, 3, 5}, Values{1, 2, 3, 4}}) {
    const testing::ScratchFolder scratch;
    write_tensors(scratch, {{kEmbedding, embedding}, {kHead, head}});
    const ModelFolder folder(scratch.path());
    const bool differs = head != embedding;
    CHECK(folder.is_untied_by_weights() == differs);
    CHECK(folder.model().tie_word_embeddings == !differs);
    if (!differs) {
      folder.require_tensors(kEmbeddingAlone);
      continue;
    }
    folder.require_tensors(kBoth);
    CHECK_THROWS_WITH(folder.require_tensors(kEmbeddingAlone), Catch::Contains(kHead));
    CHECK(read_whole(folder, kBoth[1]) == head);
  }
}

TEST_CASE("the one weight of a tied model is found under either name, with and without prefix") {
  const Values weight{1, 2, 3, 4};
  for (const std::string& name : {kEmbedding, kHead, std::string("wte.weight")}) {
    const testing::ScratchFolder scratch;
    write_tensors(scratch, {{name, weight}});
    const ModelFolder folder(scratch.path());
    folder.require_tensors(kEmbeddingAlone);
    CHECK_FALSE(folder.is_untied_by_weights());
    CHECK(read_whole(folder, kEmbeddingAlone[0]) == weight);
  }
  // An untied model has two.
  const testing::ScratchFolder scratch;
  write_tensors(scratch, {{kHead, weight}});
  testing::write_file(scratch / "config.json",
                      std::string(kTied).insert(1, R"("tie_word_embeddings": false, )"));
  CHECK_THROWS_WITH(ModelFolder(scratch.path()).require_tensors(kBoth),
                    Catch::Contains("transformer.wte.weight is missing"));
}

TEST_CASE("an index may name a tensor that no file holds when the model does not need it") {
  const testing::ScratchFolder scratch;
  write_tensors(scratch, {{kEmbedding, {1, 2, 3, 4}}},
                R"({"weight_map": {"transformer.wte.weight": "a.safetensors",
                    "lm_head.weight": "a.safetensors", "h.0.attn.bias": "a.safetensors"}})");
  const ModelFolder folder(scratch.path());
  CHECK(folder.model().tie_word_embeddings);
  folder.require_tensors(kEmbeddingAlone);
  CHECK_THROWS_WITH(folder.require_tensors(kBoth),
                    Catch::Contains("lm_head.weight is missing") &&
                        Catch::Contains("model.safetensors.index.json") &&
                        Catch::Contains("a.safetensors"));
}

namespace {

config::ModelParameters tiny_moe() {
  config::ModelParameters m = tiny_gpt2();
  m.model_type = "qwen3_moe";
  m.num_experts = 3;
  m.num_experts_per_tok = 2;
  m.moe_intermediate_size = 2;
  return m;
}

constexpr const char* kExperts = "model.layers.0.mlp.experts.";

/// Of three experts: gate_up (3 x 2 x 2, 4), down (3 x 4, 2), and one plain matrix.
std::vector<TensorSpec> expert_table() {
  const std::string experts = kExperts;
  std::vector<TensorSpec> table(3);
  table[0] = {.name = "model.layers.0.mlp.gate.weight", .rows = 3, .cols = 4};
  table[1] = {.name = experts + "gate_up_proj", .rows = 12, .cols = 4, .num_experts = 3};
  table[1].place.expert_parts = {experts + "{}.gate_proj.weight", experts + "{}.up_proj.weight"};
  table[2] = {.name = experts + "down_proj", .rows = 12, .cols = 2, .num_experts = 3};
  table[2].place.expert_parts = {experts + "{}.down_proj.weight"};
  return table;
}

/// A folder with the same values as transformers 5 has them in memory: (E, rows, cols).
void write_together(const testing::ScratchFolder& folder, const std::vector<TensorSpec>& table,
                    bool with_down) {
  std::vector<StoredTensor> stored;
  std::string data;
  for (const TensorSpec& spec : table) {
    if (spec.name.ends_with("down_proj") && !with_down) continue;
    std::vector<float> values;
    for (std::int64_t r = 0; r < spec.rows; ++r)
      for (std::int64_t c = 0; c < spec.cols; ++c) values.push_back(value(table, spec, r, c));
    stored.push_back({.name = spec.name, .dtype = "F32", .shape = {spec.rows, spec.cols}});
    if (spec.num_experts > 0) stored.back().shape = {3, spec.rows / 3, spec.cols};
    data += testing::bytes_of(values);
  }
  testing::write_file(folder / "config.json",
                      write_config({.model = tiny_moe(), .dtype = "float32"}));
  const std::string header = make_header(stored);
  testing::write_file(folder / "model.safetensors", header + data);
}

void check_values(const ModelFolder& folder, const std::vector<TensorSpec>& table) {
  folder.require_tensors(table);
  for (const TensorSpec& spec : table)
    for (const parallel::Rectangle part :
         {parallel::Rectangle{0, spec.rows, 0, spec.cols},
          parallel::Rectangle{spec.rows / 4, spec.rows - 1, 1, spec.cols},
          parallel::Rectangle{spec.rows - 1, spec.rows, 0, 1}, parallel::Rectangle{0, 0, 0, 0}}) {
      std::vector<float> values(static_cast<std::size_t>(part.size()), -1.0F);
      folder.read(spec, part, values.data());
      std::size_t i = 0;
      for (std::int64_t r = part.row_begin; r < part.row_end; ++r)
        for (std::int64_t c = part.col_begin; c < part.col_end; ++c)
          CHECK(values[i++] == value(table, spec, r, c));
    }
}

}  // namespace

TEST_CASE("each expert is written with matrices of its own, and comes back, whole and in parts") {
  const auto table = expert_table();
  for (const std::uint64_t shard_bytes : {std::uint64_t{1}, std::uint64_t{1} << 30}) {
    const testing::ScratchFolder scratch;
    FolderWriter writer(scratch.path(), {.model = tiny_moe(), .dtype = "float32"}, table,
                        shard_bytes);
    CHECK(writer.num_tensors() == 1 + 3 * 3);
    CHECK(writer.units().size() == 3);  // a row of the table is read once
    write_all(table, writer);
    check_values(ModelFolder(scratch.path()), table);
    if (shard_bytes == 1) continue;
    // gate and up of an expert are halves of its rows.
    const SafetensorsFile file(scratch / "model.safetensors");
    for (const StoredTensor& tensor : file.tensors()) {
      if (tensor.name != std::string(kExperts) + "1.up_proj.weight") continue;
      CHECK(tensor.shape == std::vector<std::int64_t>{2, 4});
      std::vector<float> values(8);
      file.read_elements(tensor, 0, 8, values.data());
      CHECK(values[0] == value(table, table[1], 6, 0));
      CHECK(values[7] == value(table, table[1], 7, 3));
    }
  }
}

TEST_CASE("experts that lie together are read as those that lie apart") {
  const auto table = expert_table();
  const testing::ScratchFolder scratch;
  write_together(scratch, table, true);
  check_values(ModelFolder(scratch.path()), table);
}

TEST_CASE("experts that are missing, or are there in both ways, are named") {
  const auto table = expert_table();
  const testing::ScratchFolder scratch;
  write_together(scratch, table, false);
  CHECK_THROWS_WITH(ModelFolder(scratch.path()).require_tensors(table),
                    Catch::Contains("experts.0.down_proj.weight is missing") &&
                        Catch::Contains("experts.2.down_proj.weight is missing"));
  auto fewer = table;
  fewer[1].num_experts = fewer[2].num_experts = 2;
  for (TensorSpec& spec : fewer) spec.rows -= spec.rows / 3;
  const testing::ScratchFolder together;
  write_together(together, table, true);
  CHECK_THROWS_WITH(ModelFolder(together.path()).require_tensors(fewer),
                    Catch::Contains("(3, 4, 4), the model has (2, 4, 4)"));
  const testing::ScratchFolder apart;
  FolderWriter writer(apart.path(), {.model = tiny_moe(), .dtype = "float32"}, table, 1 << 30);
  write_all(table, writer);
  CHECK_THROWS_WITH(ModelFolder(apart.path()).require_tensors(fewer),
                    Catch::Contains("experts.2.gate_proj.weight") &&
                        Catch::Contains("is no weight of this model"));
}
