#pragma once
#include <hdf5.h>

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <utility>

#include "base/error.hpp"

namespace espalier::io {

/// HDF5 1.10 is not thread-safe: whoever calls it holds this lock (the checkpoint thread and the
/// main thread both do). The functions below do not take it themselves. The first call also turns
/// off HDF5's own printing of errors: they become an Error here, or a decision of the caller.
std::unique_lock<std::mutex> hdf5_lock();

/// Owning handle; `Close` is the library's own function. Move-only; the destructor never throws.
/// Destroy it while the lock is held.
template <herr_t (*Close)(hid_t)>
class Hdf5Handle {
 public:
  Hdf5Handle() = default;
  explicit Hdf5Handle(hid_t id) : id_(id) {}
  Hdf5Handle(Hdf5Handle&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)) {}
  Hdf5Handle& operator=(Hdf5Handle&& other) noexcept {
    std::swap(id_, other.id_);
    return *this;
  }
  ~Hdf5Handle() {
    if (id_ >= 0) Close(id_);
  }
  hid_t get() const { return id_; }
  /// Gives up ownership: for a close whose failure must be seen (a full disk shows itself there).
  hid_t release() { return std::exchange(id_, H5I_INVALID_HID); }

 private:
  hid_t id_ = H5I_INVALID_HID;
};
using Hdf5File = Hdf5Handle<H5Fclose>;
using Hdf5Group = Hdf5Handle<H5Gclose>;
using Hdf5Dataset = Hdf5Handle<H5Dclose>;
using Hdf5Space = Hdf5Handle<H5Sclose>;
using Hdf5Type = Hdf5Handle<H5Tclose>;
using Hdf5Attribute = Hdf5Handle<H5Aclose>;
using Hdf5PropertyList = Hdf5Handle<H5Pclose>;

/// Throws Error(`status`): "<path>: <call> failed: <the deepest message of HDF5's error stack>",
/// which quotes the operating system where it was the cause (no space left on device). Where
/// HDF5_USE_FILE_LOCKING asks for locks that cannot be had, Error (io_error) that says so.
[[noreturn]] void hdf5_failed(ExitStatus status, const std::filesystem::path& path,
                              const char* call);

/// Passes on the result of an HDF5 call, or throws as hdf5_failed when it is negative. Statuses:
/// bad_data when reading, io_error when writing. Use ESPALIER_HDF5, which spells the call.
template <class Result>
Result hdf5_check(Result result, ExitStatus status, const std::filesystem::path& path,
                  const char* call) {
  if (result < 0) hdf5_failed(status, path, call);
  return result;
}

/// Hdf5Space space(ESPALIER_HDF5(io_error, path, H5Screate_simple(1, dims, nullptr)));
#define ESPALIER_HDF5(status, path, ...) \
  ::espalier::io::hdf5_check((__VA_ARGS__), ::espalier::ExitStatus::status, path, #__VA_ARGS__)

/// How every file is opened here: without locks. Parallel file systems are often mounted without
/// flock(), on which HDF5 would fail (ENOLCK, ENOSYS); nothing here needs it: a file that is being
/// written has no other reader before it has its final name, and a finished one never changes.
/// Error (io_error).
Hdf5PropertyList hdf5_file_access(const std::filesystem::path& path);
/// Opens a file that is there, the one way to do it. Error (bad_data) for reading, Error (io_error)
/// for changing it.
Hdf5File hdf5_open_to_read(const std::filesystem::path& path);
Hdf5File hdf5_open_to_change(const std::filesystem::path& path);

/// Closes a file that was changed and throws Error (io_error) when that fails: what was still in
/// HDF5's cache may not have reached the disk. Every other handle of the file is closed before.
void hdf5_close(Hdf5File&& file, const std::filesystem::path& path);

/// A new HDF5 file being written. HDF5 cannot give up a file that it cannot flush: after a failed
/// H5Fclose the library crashes when it ends. This owner lets a write to a full disk fail, and the
/// program go on: an output that is not closed is abandoned without touching the disk again (the
/// caller removes the file). Arrays are placed at multiples of 64 bytes, so that a reader may map
/// them; HDF5's own structures carry checksums.
class Hdf5Output {
 public:
  enum class Start {
    empty,  ///< the file is created, or emptied
    as_is   ///< the file was made by an output
  };
  /// Throws Error (io_error).
  explicit Hdf5Output(const std::filesystem::path& path, Start start = Start::empty);
  ~Hdf5Output();
  Hdf5Output(const Hdf5Output&) = delete;
  Hdf5Output& operator=(const Hdf5Output&) = delete;
  hid_t get() const { return file_; }
  /// Writes what HDF5 still holds and closes. Throws Error (io_error).
  void close();

 private:
  void abandon();
  std::filesystem::path path_;
  hid_t file_;
};

/// Attributes of `object` (a file's id means its root group). Strings are UTF-8 of fixed length,
/// which h5dump and h5py show as text; one holds at most 60,000 bytes (HDF5's limit is 64 KB,
/// longer text needs a dataset). `path` is for the messages. Writing throws Error (io_error);
/// reading throws Error (bad_data) when the attribute is missing or of another type.
void write_attribute(hid_t object, const std::filesystem::path& path, const char* name,
                     const std::string& value);
void write_attribute(hid_t object, const std::filesystem::path& path, const char* name,
                     std::uint64_t value);
std::string read_string_attribute(hid_t object, const std::filesystem::path& path,
                                  const char* name);
std::uint64_t read_u64_attribute(hid_t object, const std::filesystem::path& path, const char* name);
bool has_attribute(hid_t object, const char* name);

}  // namespace espalier::io
