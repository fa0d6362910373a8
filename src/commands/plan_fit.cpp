// espalier plan fit: a loss law fitted to runs and published points.
#include <fcntl.h>

#include <filesystem>

#include "base/log.hpp"
#include "commands/commands.hpp"
#include "io/checkpoint_files.hpp"
#include "io/output_file.hpp"
#include "io/toml_reader.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "plan/scaling/fit_points.hpp"
#include "plan/scaling/fit_report.hpp"

namespace espalier::commands {
namespace {

namespace fs = std::filesystem;

/// The point that fit.predict_parameters and fit.predict_tokens ask for, if they do.
std::vector<plan::FitPoint> asked_for(const config::FitParameters& fit) {
  if (fit.predict_parameters == 0.0 && fit.predict_tokens == 0.0) return {};
  require(fit.predict_parameters > 0.0 && fit.predict_tokens > 0.0, ExitStatus::bad_configuration,
          "{} is set and {} is not: a prediction needs both",
          fit.predict_parameters > 0.0 ? "fit.predict_parameters" : "fit.predict_tokens",
          fit.predict_parameters > 0.0 ? "fit.predict_tokens" : "fit.predict_parameters");
  return {{.name = "prediction",
           .parameters = fit.predict_parameters,
           .tokens = fit.predict_tokens,
           .loss = 0.0}};
}

void require_writable(const config::PlanParameters& p, const fs::path& law) {
  if (!p.plot.empty()) io::require_new_output(p.plot, "plan.plot");
  std::error_code ignored;
  if (p.write.empty()) return;
  require(!fs::exists(p.write, ignored) || fs::is_directory(p.write, ignored),
          ExitStatus::bad_configuration,
          "plan.write = \"{}\" is a file: name a folder, new or not, for loss_law.toml", p.write);
  if (fs::exists(p.write, ignored)) io::require_new_output(law, "plan.write");
}

void write_law(const fs::path& path, const std::string& text) {
  io::create_folder(path.parent_path());
  io::require_new_output(path, "plan.write");
  io::FileDescriptor file(path, O_WRONLY | O_CREAT | O_EXCL);
  file.write_at(text.data(), text.size(), 0);
  file.flush();
}

std::string made_of(std::span<const std::string> paths) {
  const std::string first = fs::path(paths.front()).lexically_normal().filename().string();
  return paths.size() == 1 ? first : fmt::format("{} and {} more", first, paths.size() - 1);
}

std::string fit_and_write(std::span<const std::string> paths,
                          std::span<const std::string> overrides, bool dry_run) {
  config::Parameters p;
  io::read_parameters("", "command line", overrides, p);
  config::resolve(p, 1, config::Use::document);
  const report::Format format = report::format_from_name(p.plan.format);
  const fs::path law = fs::path(p.plan.write) / "loss_law.toml";
  require_writable(p.plan, law);
  const std::vector<plan::FitPoint> asked = asked_for(p.fit);
  const plan::DividedPoints points =
      plan::divide_points(plan::read_points(paths, p.fit), p.fit.hold_back);
  if (dry_run)
    return fmt::format("{} points to fit, {} held back\ndry run: nothing was fitted or written",
                       points.fitted.size(), points.held_back.size());
  const plan::LawFit fit =
      plan::fit_law(points.fitted, {.huber_delta = p.fit.huber_delta,
                                    .resamples = p.fit.resamples,
                                    .seed = static_cast<std::uint64_t>(p.fit.seed),
                                    .confidence = p.fit.confidence});
  const plan::FitReport report{.points = points.fitted,
                               .held_back = points.held_back,
                               .asked = asked,
                               .fit = fit,
                               .what_n_counts = p.fit.counts,
                               .rows = static_cast<std::size_t>(p.plan.rows)};
  std::string text = plan::print_fit(report, format);
  // The picture is drawn before anything is written.
  const std::string svg = p.plan.plot.empty() ? std::string() : plan::fit_chart(report).svg();
  std::string written;
  if (!p.plan.write.empty()) {
    write_law(law, plan::law_file(report, made_of(paths)));
    written += fmt::format("\nlaw: {} (loss_law.file of another input)", law.string());
  }
  if (!p.plan.plot.empty()) {
    report::write_svg(p.plan.plot, svg);
    written += fmt::format("\npicture: {}", p.plan.plot);
  }
  text.pop_back();  // a line has its own end
  if (format == report::Format::text && !written.empty()) text += "\n" + written;
  return text;
}

}  // namespace

ExitStatus plan_fit(parallel::MpiSession& session, std::span<const std::string> paths,
                    std::span<const std::string> overrides, bool dry_run) {
  log::line(parallel::on_rank_0(session, [&] { return fit_and_write(paths, overrides, dry_run); }));
  return ExitStatus::ok;
}

}  // namespace espalier::commands
