#include "commands/convert_target.hpp"

#include "base/error.hpp"
#include "io/checkpoint_files.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "train/device_choice.hpp"
#include "train/kept_tokenizer.hpp"

namespace espalier::commands {
namespace {

namespace fs = std::filesystem;

/// A file, or the folder with the tokenizer of a checkpoint, whose name only a conversion gives in
/// the folder that it is writing.
bool is_of_a_conversion(const fs::directory_entry& entry) {
  const std::string name = entry.path().filename().string();
  std::error_code ignored;
  if (!entry.is_regular_file(ignored))
    return entry.is_directory(ignored) && name == train::kTokenizerFolder;
  return name == "config.json" || name == "generation_config.json" || name == "master.h5" ||
         name == io::kSharedName || name == train::kGemmChoicesFile || name == "COMPLETE" ||
         name == "model.safetensors.index.json" || name.starts_with("rank-") ||
         name.ends_with(".safetensors") || name.find("token") != std::string::npos ||
         name == "vocab.json" || name == "merges.txt" || name.starts_with("chat_template");
}

}  // namespace

fs::path real_place(const fs::path& path) {
  std::error_code ignored;
  const fs::path absolute = fs::absolute(path, ignored).lexically_normal();
  const fs::path place = fs::weakly_canonical(absolute, ignored);
  const fs::path& known = place.empty() ? absolute : place;
  return known.has_filename() ? known : known.parent_path();
}

ConvertTarget::ConvertTarget(const fs::path& target)
    : target_(real_place(target)), partial_(target_.string() + ".partial") {}

void ConvertTarget::require_free() const {
  std::error_code ignored;
  require(target_.has_relative_path() && target_ != fs::current_path(ignored),
          ExitStatus::bad_configuration, "the target is this folder itself: name a new one");
  const bool is_free = !fs::exists(fs::symlink_status(target_, ignored)) ||
                       (fs::is_directory(target_, ignored) && fs::is_empty(target_, ignored));
  require(is_free, ExitStatus::bad_configuration,
          "{} is there already, and not an empty folder: nothing is overwritten. Remove it, or "
          "choose another target",
          name());
  for (const auto& entry : fs::directory_iterator(partial_, ignored))
    require(is_of_a_conversion(entry), ExitStatus::bad_configuration,
            "{} is needed while the target is written, but holds {}, which no conversion has "
            "made: move it, or choose another target",
            partial_.string(), entry.path().filename().string());
}

void ConvertTarget::create(parallel::MpiSession& session, const std::function<void()>& fill) {
  on_rank_0(session, [&] {
    lock_ = std::make_unique<io::FileLock>(
        partial_.string() + ".lock",
        io::LockPurpose{.busy = fmt::format("{} is being written by another job", name()),
                        .remedy = "choose another target"});
    require_free();  // another job may have been faster
    std::error_code error;
    fs::remove_all(partial_, error);
    if (error) io::fail_io("remove", partial_, error.value());
    io::create_folder(partial_);
    fill();
    return std::string();
  });
}

void ConvertTarget::publish() {
  lock_->require_held();
  io::flush_folder(partial_);
  io::rename_path(partial_, target_);  // replaces an empty folder
  io::flush_folder(fs::absolute(target_).parent_path());
  lock_.reset();
}

void ConvertTarget::discard() const {
  std::error_code ignored;
  if (lock_ != nullptr && lock_->is_held()) fs::remove_all(partial_, ignored);
}

}  // namespace espalier::commands
