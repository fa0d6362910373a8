// espalier report: runs as one HTML page.
#include <filesystem>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/whole_file.hpp"
#include "commands/commands.hpp"
#include "io/checkpoint_files.hpp"
#include "io/replaced_file.hpp"
#include "io/toml_reader.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "runs/page.hpp"

namespace espalier::commands {
namespace {

namespace fs = std::filesystem;

/// Only a page of ours is replaced.
void require_own_page(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return;
  const auto text = read_whole_file(path);
  require(
      text && text->find("espalier report") != std::string::npos, ExitStatus::bad_configuration,
      "report.write = \"{}\" is there already, and no page of this command: choose another name",
      path.string());
}

std::string write_report(std::span<const std::string> paths,
                         std::span<const std::string> overrides) {
  config::Parameters p;
  io::read_parameters("", "command line", overrides, p);
  config::resolve(p, 1, config::Use::document);
  const fs::path page = p.report.write;
  require_own_page(page);
  const std::vector<runs::Run> all =
      runs::read_runs({paths.begin(), paths.end()}, runs::Depth::everything);
  const std::string html = runs::page_of(all, runs::now_s());
  if (page.has_parent_path()) io::create_folder(page.parent_path());
  io::replace_file(page, html);
  std::string said = "page: " + page.string();
  if (p.report.charts.empty()) return said;
  const std::vector<runs::NamedChart> charts = runs::all_charts(all);
  io::create_folder(p.report.charts);
  for (const runs::NamedChart& chart : charts)
    io::replace_file(fs::path(p.report.charts) / (chart.name + ".svg"), chart.svg);
  return said + fmt::format("\ncharts: {} in {}", charts.size(), p.report.charts);
}

}  // namespace

ExitStatus report(parallel::MpiSession& session, std::span<const std::string> paths,
                  std::span<const std::string> overrides, bool /*dry_run*/) {
  log::line(parallel::on_rank_0(session, [&] { return write_report(paths, overrides); }));
  return ExitStatus::ok;
}

}  // namespace espalier::commands
