#include "commands/bench_write.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <memory>
#include <vector>

#include "base/log.hpp"
#include "bench/host_measurement.hpp"
#include "commands/build_info.hpp"
#include "device/gemm.hpp"
#include "io/output_file.hpp"
#include "parallel/comm/on_rank_0.hpp"

namespace espalier::commands {
namespace {

namespace fs = std::filesystem;

/// Bytes per second that the folder of `path` takes, to the disk: a file beside it, which goes.
double storage_rate(const fs::path& path) {
  constexpr std::size_t kPart = std::size_t{1} << 22;
  constexpr int kParts = 64;
  const std::string name = path.string() + ".speed";
  const int file = open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600);
  if (file < 0) return 0.0;
  unlink(name.c_str());  // goes with the descriptor, whatever happens
  std::vector<char> part(kPart);
  for (std::size_t i = 0; i < part.size(); ++i) part[i] = static_cast<char>(i * 2654435761u >> 13);
  const auto start = std::chrono::steady_clock::now();
  bool good = true;
  for (int i = 0; i < kParts && good; ++i)
    good = write(file, part.data(), part.size()) == static_cast<ssize_t>(part.size());
  good = good && fsync(file) == 0;
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  close(file);
  return good ? static_cast<double>(kPart) * kParts / seconds : 0.0;
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  char text[32];
  std::tm date{};
  std::strftime(text, sizeof text, "%Y-%m-%d", localtime_r(&now, &date));
  return text;
}

/// The device as a document: every key that says something.
std::string document(const config::HardwareParameters& hardware) {
  std::string text = fmt::format(
      "# {}\n"
      "#\n"
      "# Purpose:   plans for this host: espalier plan time run.toml plan.device=FILE, for the "
      "ranks and\n"
      "#            threads that it was measured with.\n"
      "# Source:    measured by `espalier bench --write` on {}, {}:\n"
      "#            whole steps of small models, each operation timed where it runs. peak_* are no "
      "data\n"
      "#            sheet's but those of its own matrix products.\n"
      "\n"
      "[hardware]\n",
      hardware.name, today(), device::Gemm().describe());
  const config::HardwareParameters defaults;
  const auto keys_of = [](const auto& table, const auto& standard, auto&& add) {
    using Table = std::decay_t<decltype(table)>;
    std::vector<std::string> unset;
    Table::describe(standard, [&](const config::Field&, const auto& value) {
      unset.push_back(config::toml_value(value));
    });
    std::size_t i = 0;
    Table::describe(table, [&](const config::Field& field, const auto& value) {
      const std::string own = config::toml_value(value);
      if (own != unset[i++] && field.name != "operators") add(field, own);
    });
  };
  keys_of(hardware, defaults, [&](const config::Field& field, const std::string& value) {
    text += fmt::format("{} = {}{}\n", field.name, value,
                        field.unit.empty() ? "" : fmt::format("  # {}", field.unit));
  });
  for (const config::OperatorRate& rate : hardware.operators) {
    text += "\n[[hardware.operators]]\n";
    keys_of(rate, config::OperatorRate{},
            [&](const config::Field& field, const std::string& value) {
              text += fmt::format("{} = {}\n", field.name, value);
            });
  }
  return text;
}

void write_new(const std::string& path, const std::string& text) {
  errno = 0;
  // x: another program that makes it at the same moment is not overwritten either.
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "wx"), std::fclose);
  require(file != nullptr, ExitStatus::io_error, "{} cannot be written: {}", path,
          std::strerror(errno));
  const bool written = std::fwrite(text.data(), 1, text.size(), file.get()) == text.size();
  require(std::fclose(file.release()) == 0 && written, ExitStatus::io_error,
          "{} cannot be written: {}", path, std::strerror(errno));
}

}  // namespace

ExitStatus write_host(parallel::MpiSession& session, const config::Parameters& parameters,
                      bool dry_run) {
  const std::string& path = parameters.bench.write;
  parallel::on_rank_0(session, [&] {
    io::require_new_output(path, "bench.write");
    return std::string();
  });
  if (dry_run) return ExitStatus::ok;
  log::info("measuring this host for {}: one to two minutes, in which nothing else should run",
            path);
  config::HardwareParameters hardware = bench::measure_host(session, parameters);
  parallel::on_rank_0(session, [&] {
    hardware.storage_gbs = std::stod(fmt::format("{:.3g}", 1e-9 * storage_rate(path)));
    write_new(path, document(hardware));
    return std::string();
  });
  log::info("{}: written; plan.device={} plans for it", hardware.name, path);
  return ExitStatus::ok;
}

}  // namespace espalier::commands
