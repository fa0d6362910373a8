#include <catch2/catch.hpp>
#include <filesystem>

#include "../../support/expect_error.hpp"
#include "../../support/scratch_folder.hpp"
#include "io/toml_reader.hpp"
#include "plan/estimate/campaign.hpp"
#include "planned_devices.hpp"

using namespace espalier;
using plan::CampaignPlan;
using plan::CampaignRun;

namespace {

/// A folder with the input of a small run, and campaigns of it on two devices.
class Campaigns {
 public:
  Campaigns() {
    config::Parameters run = testing::small_run();
    run.optimizer.learning_rate = 1e-3;
    testing::write_file(folder_ / "small.toml", config::to_toml(run));
  }
  /// One second of two devices, unless the phases' text says otherwise.
  config::Parameters read(const std::string& phases, double hours = 1.0, double reserve = 0.0) {
    config::Parameters p;
    io::read_parameters(phases, "campaign.toml", {}, p);
    p.plan.hours = hours;
    p.plan.ranks = 2;
    p.campaign.reserve = reserve;
    return p;
  }
  CampaignPlan plan(const std::string& phases, double hours = 1.0, double reserve = 0.0,
                    double memory_gib = 178.0) {
    return plan::plan_campaign(read(phases, hours, reserve), folder_.path().string(),
                               testing::device(memory_gib));
  }
  std::string error(const std::string& phases, double hours = 1.0, double reserve = 0.0) {
    return testing::message_of([&] { plan(phases, hours, reserve); });
  }
  std::filesystem::path operator/(const char* name) const { return folder_ / name; }

 private:
  testing::ScratchFolder folder_;
};

std::string phase(const std::string& name, const std::string& rest) {
  return "[[campaign.phases]]\nname = \"" + name + "\"\ninput = \"small.toml\"\n" + rest + "\n";
}

}  // namespace

TEST_CASE("runs follow each other, and take what their layout takes") {
  Campaigns campaigns;
  const CampaignPlan plan = campaigns.plan(phase("one", "tokens = 1e6") + phase("two", ""));
  REQUIRE(plan.runs.size() == 2);
  const CampaignRun &one = plan.runs[0], &two = plan.runs[1];
  CHECK(one.name == "one");
  CHECK(one.layout.parameters.training.steps == 326);  // of 3,072 tokens
  CHECK(one.tokens() == 326.0 * 3072);
  CHECK(two.layout.parameters.training.steps == 1000);  // as the input says
  CHECK(one.begins == 0.0);
  CHECK(two.begins == one.ends);
  CHECK(plan.needed() == two.ends);
  CHECK(plan.fits());
  const plan::Layout best = plan::best_layout(two.layout.parameters, testing::device(), 2);
  CHECK(plan::describe_layout(two.layout.parameters) == plan::describe_layout(best.parameters));
  CHECK(two.hours() == Approx(best.estimate.hours).epsilon(1e-12));
  CHECK(two.layout.parameters.output.directory == "runs/two");
}

TEST_CASE("values of a change are a run each, and changes with several go together") {
  Campaigns campaigns;
  const CampaignPlan plan = campaigns.plan(
      phase("theta", "changes = [\"model.rope_theta = 1e6 | 1e5\", \"schedule.warmup_steps=7\"]") +
      phase(
          "context",
          "changes = [\"training.sequence_length=128|512\", \"training.global_batch_size=24|6\"]"));
  REQUIRE(plan.runs.size() == 4);
  CHECK(plan.runs[0].name == "theta-1e6");
  CHECK(plan.runs[1].name == "theta-1e5");
  CHECK(plan.runs[1].layout.parameters.model.rope_theta == 1e5);
  CHECK(plan.runs[1].layout.parameters.schedule.warmup_steps == 7);
  CHECK(plan.runs[2].name == "context-128");
  CHECK(plan.runs[3].layout.parameters.training.sequence_length == 512);
  CHECK(plan.runs[3].layout.parameters.training.global_batch_size == 6);
  CHECK(plan.runs[3].tokens() == plan.runs[2].tokens());
}

TEST_CASE("a run that computes the same as an earlier one is done once") {
  Campaigns campaigns;
  const CampaignPlan plan = campaigns.plan(
      phase("theta", "tokens = 1e6\nchanges = [\"model.rope_theta=1e6 | 1e5\"]") +
      phase("ratio", "tokens = 1e6\nchanges = [\"model.intermediate_size=576 | 768\"]") +
      phase("longer", "tokens = 2e6"));
  REQUIRE(plan.runs.size() == 5);
  CHECK(plan.runs[2].same_as == "theta-1e6");
  CHECK(plan.runs[2].hours() == 0.0);
  CHECK(plan.runs[3].same_as.empty());
  CHECK(plan.runs[4].same_as.empty());
  CHECK(plan.hours_of(1) == plan.runs[3].hours());
}

TEST_CASE("a share of the time gives all runs of the phase the same tokens, and is not exceeded") {
  Campaigns campaigns;
  const CampaignPlan plan = campaigns.plan(
      phase("most", "share = 0.75") +
          phase("depth", "share = 0.25\nchanges = [\"model.num_hidden_layers=2|6\"]"),
      2.0, 0.5);
  CHECK(plan.usable == 1.0);
  CHECK(plan.hours_of(0) == Approx(0.75).epsilon(1e-3));
  CHECK(plan.hours_of(1) == Approx(0.25).epsilon(1e-3));
  CHECK(plan.hours_of(0) <= 0.75);
  CHECK(plan.needed() <= 1.0);
  CHECK(plan.fits());
  CHECK(plan.runs[1].tokens() == plan.runs[2].tokens());
  CHECK(plan.runs[1].hours() < plan.runs[2].hours());
}

TEST_CASE("a campaign that is too long says by how much, and each way to cut it fits") {
  Campaigns campaigns;
  const std::string first = phase("first", "tokens = 1e9"),
                    second = phase("second", "tokens = 4e8");
  const double needed = campaigns.plan(first + second).needed();
  const double hours = 0.9 * needed;
  const CampaignPlan plan = campaigns.plan(first + second, hours);
  CHECK_FALSE(plan.fits());
  CHECK(plan.over() == Approx(0.1 * needed).epsilon(1e-6));
  const std::vector<std::string> ways = plan::ways_to_fit(plan, 0.0);
  REQUIRE(ways.size() == 5);
  CHECK(ways[0].starts_with("0.899 of the tokens") + ways[0].starts_with("0.9 of the tokens") == 1);
  testing::expect_words(ways[1], {"\"first\"", "in place of 1e9"});
  testing::expect_words(ways[2], {"\"second\"", "in place of 0.4e9"});
  CHECK(ways[3].starts_with("without \"second\" ("));
  CHECK(ways[4].starts_with("plan.hours = "));
  // The tokens that it names, put into the campaign.
  const auto tokens_of = [](const std::string& way) {
    return way.substr(way.find("with ") + 5, way.find(" tokens") - way.find("with ") - 5);
  };
  CHECK(campaigns.plan(phase("first", "tokens = " + tokens_of(ways[1])) + second, hours * 1.001)
            .fits());
  CHECK(campaigns.plan(first + phase("second", "tokens = " + tokens_of(ways[2])), hours * 1.001)
            .fits());
  CHECK(plan::ways_to_fit(campaigns.plan(first), 0.0).empty());
}

TEST_CASE("a run that fits into no layout takes no time and is told") {
  Campaigns campaigns;
  const CampaignPlan plan =
      campaigns.plan(phase("one", "") + phase("two", "tokens = 1e6"), 1.0, 0.0, 0.5);
  for (const CampaignRun& run : plan.runs) CHECK_FALSE(run.fits());
  CHECK(plan.needed() == 0.0);
  CHECK_FALSE(plan.fits());
  const std::string text = plan::print_campaign("small", {plan}, 0.0, report::Format::text);
  testing::expect_words(text, {"\"one\" does not fit", "GiB of 0.5", "not in memory"});
}

TEST_CASE("a campaign is printed within a hundred columns, and for programs with all its runs") {
  Campaigns campaigns;
  const CampaignPlan plan =
      campaigns.plan(phase("first-with-a-name", "tokens = 1e6") + phase("second", "tokens = 4e12"));
  const std::string text = plan::print_campaign("small", {plan}, 0.0, report::Format::text);
  for (std::size_t begin = 0, end = 0; begin < text.size(); begin = end + 1) {
    end = std::min(text.find('\n', begin), text.size());
    CHECK(end - begin <= 100);
  }
  testing::expect_words(text, {"h over", "would fit", "plan.hours = ", "2 x Test GPU"});
  const std::string csv = plan::print_campaign("small", {plan}, 0.0, report::Format::csv);
  CHECK(testing::num_lines(csv) == 4);
  testing::expect_words(csv, {"fits_in_time", "Test GPU,2,first-with-a-name"});
}

TEST_CASE("its inputs are written once, and none where one is there already") {
  Campaigns campaigns;
  const CampaignPlan plan = campaigns.plan(
      phase("theta", "changes = [\"model.rope_theta=1e6 | 1e5\"]") + phase("again", ""));
  const auto folder = campaigns / "new";
  const auto paths = plan::write_campaign(std::span(&plan, 1), folder.string());
  REQUIRE(paths.size() == 2);  // the third is the first
  config::Parameters read;
  io::read_parameters(testing::read_file(paths[1]), paths[1], {}, read);
  CHECK(read.run.name == "theta-1e5");
  CHECK(read.model.rope_theta == 1e5);
  CHECK(read.parallel.data * read.parallel.tensor == 2);
  std::filesystem::remove(paths[0]);
  testing::write_file(paths[1], "mine");
  CHECK_THROWS_AS(plan::write_campaign(std::span(&plan, 1), folder.string()), Error);
  CHECK(testing::read_file(paths[1]) == "mine");
  CHECK_FALSE(std::filesystem::exists(paths[0]));
}

TEST_CASE("a campaign that means nothing says which phase and what to change") {
  Campaigns campaigns;
  using testing::expect_words;
  expect_words(campaigns.error(""), {"no phases", "[[campaign.phases]]"});
  expect_words(campaigns.error(phase("a", ""), 0.0), {"plan.hours"});
  expect_words(campaigns.error(phase("a", ""), 1.0, 1.0), {"campaign.reserve = 1"});
  expect_words(campaigns.error(phase("a", "share = 0.7") + phase("b", "share = 0.5")),
               {"shares", "1.2"});
  expect_words(campaigns.error(phase("a", "") + phase("b", "tokens = 1e6\nshare = 0.5")),
               {"phase 2", "\"b\"", "tokens = 1e+06", "share = 0.5"});
  expect_words(campaigns.error(phase("a b", "")), {"phase 1", "name"});
  expect_words(campaigns.error("[[campaign.phases]]\nname = \"a\"\n"), {"phase 1", "input"});
  expect_words(campaigns.error("[[campaign.phases]]\nname = \"a\"\ninput = \"none.toml\"\n"),
               {"phase 1", "none.toml"});
  expect_words(campaigns.error(phase("a", "") + phase("a", "")), {"phase 2", "two runs \"a\""});
  expect_words(campaigns.error(phase("a", "share = 1e-12")), {"phase 1", "not one step"});
  const auto of_change = [&](const std::string& change, const std::string& rest = "") {
    return campaigns.error(phase("a", "changes = [" + change + "]\n" + rest));
  };
  expect_words(of_change("\"model.rope_tetha=1e5\""),
               {"phase 1", "model.rope_tetha", "model.rope_theta"});
  expect_words(of_change("\"rope_theta\""), {"phase 1", "section.key=value"});
  expect_words(of_change("\"model.rope_theta=1e5 | \""), {"empty value"});
  expect_words(of_change("\"model.rope_theta=1e5|1e6\", \"training.seed=1|2|3\""),
               {"model.rope_theta has 2", "training.seed has 3"});
  expect_words(of_change("\"plan.hours=3\""), {"plan.hours", "campaign itself"});
  expect_words(of_change("\"parallel.tensor=2\""), {"parallel.tensor", "remove"});
  expect_words(of_change("\"training.steps=5\"", "tokens = 1e6"), {"training.steps", "keep one"});
  expect_words(of_change("\"model.num_attention_heads=5\""), {"phase 1", "num_attention_heads"});
  config::Parameters no_ranks = campaigns.read(phase("a", ""));
  no_ranks.plan.ranks = 0;
  expect_words(testing::message_of([&] { plan::plan_campaign(no_ranks, "", testing::device()); }),
               {"plan.ranks"});
}
