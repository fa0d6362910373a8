#include "config/changes.hpp"

#include <algorithm>
#include <functional>
#include <map>

#include "catch2/catch.hpp"
#include "config/reference.hpp"
#include "io/toml_reader.hpp"
#include "support/expect_error.hpp"

using namespace espalier;
using config::Change;
using config::Changes;
using config::Field;
using config::Parameters;

namespace {

void change(const Field&, bool& value) {
  value = !value;
}
void change(const Field&, std::int64_t& value) {
  value += 2;
}
void change(const Field&, double& value) {
  value = value / 2 + 0.25;
}
void change(const Field& field, std::string& value) {
  std::string other = "another";
  for (const std::string_view choice : field.choices)
    if (choice != value) other = choice;
  value = other;
}
void change(const Field&, std::vector<std::string>& value) {
  value.emplace_back("another");
}
void change(const Field&, std::vector<std::int64_t>& value) {
  value.push_back(7);
}
template <config::Described T>
void change(const Field&, std::vector<T>& value) {
  value.emplace_back();
}

/// visit(key, field, inputs in which it alone differs from `base`) for every key of every table.
void for_each_change(
    const Parameters& base,
    const std::function<void(const std::string&, Changes, const Parameters&)>& visit) {
  for (const std::string& key : config::key_names()) {
    Parameters now = base;
    Changes what = Changes::undeclared;
    Parameters::tables(now, [&](std::string_view table, std::string_view, auto& values) {
      std::decay_t<decltype(values)>::describe(values, [&](const Field& field, auto& value) {
        if (key != std::string(table) + "." + std::string(field.name)) return;
        change(field, value);
        what = field.changes;
      });
    });
    visit(key, what, now);
  }
}

/// Inputs in which every key of [model] has a meaning, between them.
std::vector<Parameters> bases() {
  std::vector<Parameters> found;
  for (const char* type : {"default", "linear", "dynamic", "yarn", "llama3"}) {
    found.emplace_back();
    found.back().model.rope_type = type;
  }
  found.emplace_back();
  found.back().model.model_type = "gpt2";
  found.emplace_back();
  found.back().model.model_type = "qwen3_moe";
  return found;
}

bool names(const std::vector<Change>& changes, const std::string& key) {
  return std::any_of(changes.begin(), changes.end(),
                     [&](const Change& one) { return one.key == key; });
}

void refuse(const Parameters& before, const Parameters& now) {
  config::require_allowed(config::changes_of_function(before, now), now.checkpoint.allow_changes,
                          "step-7 is of another function");
}

}  // namespace

TEST_CASE("every key of the tables that a restart compares says what its change means") {
  for_each_change({}, [](const std::string& key, Changes what, const Parameters&) {
    const std::string table = key.substr(0, key.find('.'));
    const bool compared = table == "model" || table == "training" || table == "optimizer" ||
                          table == "schedule" || table == "experts" || table == "data";
    INFO(key);
    if (compared) CHECK(what != Changes::undeclared);
    CHECK(config::class_of(key) == what);
  });
  CHECK(config::class_of("model.theta") == Changes::undeclared);
  CHECK(config::class_of("theta") == Changes::undeclared);
}

TEST_CASE("each key of the function, changed alone, is refused with both values and the remedy") {
  std::map<std::string, bool> refused;
  for (const Parameters& base : bases())
    for_each_change(base, [&](const std::string& key, Changes what, const Parameters& now) {
      const bool of_function = what == Changes::function || what == Changes::shapes;
      const auto found = config::changes_of_function(base, now);
      INFO(key << " of " << base.model.model_type << " " << base.model.rope_type);
      if (!of_function) {
        CHECK(found.empty());
        return;
      }
      refused.emplace(key, false);
      if (found.empty()) {
        CHECK(names(config::changes_of_course(base, now), key));  // told all the same
        return;
      }
      refused[key] = true;
      REQUIRE(names(found, key));
      const Change& one = *std::find_if(found.begin(), found.end(),
                                        [&](const Change& other) { return other.key == key; });
      const std::string error = testing::message_of([&] { refuse(base, now); });
      for (const std::string& word : {key, one.now + " (was " + one.before + ")",
                                      std::string("output.directory"), std::string("step-7")})
        CHECK(error.find(word) != std::string::npos);
      Parameters allowed = now;
      allowed.checkpoint.allow_changes = {key};
      if (what == Changes::shapes) {
        CHECK(error.find("allow_changes") == std::string::npos);
        CHECK(testing::message_of([&] { refuse(base, allowed); }) == error);
      } else {
        CHECK(error.find("checkpoint.allow_changes = [\"" + key + "\"]") != std::string::npos);
        CHECK_NOTHROW(refuse(base, allowed));
      }
    });
  CHECK(refused.size() > 20);
  for (const auto& [key, somewhere] : refused) {
    INFO(key);
    CHECK(somewhere);
  }
}

TEST_CASE("each key of the course is told, and what changes nothing is not") {
  for_each_change({}, [](const std::string& key, Changes what, const Parameters& now) {
    INFO(key);
    const Parameters before;
    CHECK(names(config::changes_of_start(before, now), key) == (what == Changes::start));
    if (what == Changes::function || what == Changes::shapes) return;
    CHECK(names(config::changes_of_course(before, now), key) == (what == Changes::course));
  });
}

TEST_CASE("all keys that differ are named, and all of them must be allowed") {
  Parameters before, now;
  now.model.rope_theta = 5.0e5;
  now.model.rms_norm_eps = 1.0e-5;
  now.training.dtype = "float32";
  now.checkpoint.allow_changes = {"model.rope_theta", "training.dtype"};
  CHECK(testing::message_of([&] { refuse(before, now); }) ==
        "step-7 is of another function:\n"
        "  model.rope_theta = 500000.0 (was 1000000.0)\n"
        "  model.rms_norm_eps = 1e-05 (was 1e-06)\n"
        "  training.dtype = \"float32\" (was \"bfloat16\")\n"
        "Set the old values again, or output.directory to another folder for a new run. To go on "
        "with these weights in the new function, set checkpoint.allow_changes = "
        "[\"model.rope_theta\", \"model.rms_norm_eps\", \"training.dtype\"]");
  now.checkpoint.allow_changes.emplace_back("model.rms_norm_eps");
  CHECK_NOTHROW(refuse(before, now));
}

TEST_CASE("an input that is older than a key compares with what the program did then") {
  Parameters now;
  now.model.vocab_size = 300;
  now.model.hidden_size = now.model.intermediate_size = 8;
  now.model.num_hidden_layers = now.model.num_attention_heads = 2;
  const std::vector<std::string> without_default = {
      "model.vocab_size", "model.hidden_size", "model.intermediate_size", "model.num_hidden_layers",
      "model.num_attention_heads"};
  const std::string whole = config::to_toml(now);
  for (const std::string& key : config::key_names()) {
    // Every key is once the one that the older program did not have.
    const std::string name = key.substr(key.find('.') + 1);
    std::string older;
    std::string table;
    for (std::size_t begin = 0; begin < whole.size();) {
      const std::size_t end = std::min(whole.find('\n', begin), whole.size());
      const std::string line = whole.substr(begin, end - begin);
      begin = end + 1;
      if (line.starts_with("[")) table = line.substr(1, line.find(']') - 1);
      if (table + "." + line.substr(0, line.find_first_of(" =")) != key) older += line + "\n";
    }
    INFO(key);
    Parameters before;
    io::read_parameters(older, "older.toml", {}, before);
    if (std::count(without_default.begin(), without_default.end(), key) > 0) continue;
    CHECK(config::changes_of_function(before, now).empty());
    CHECK(config::changes_of_course(before, now).empty());
  }
}
