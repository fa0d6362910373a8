#include "io/hdf5.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace espalier::io {
namespace {

/// H5Ewalk callback: keeps the description of the deepest entry, which names the cause.
herr_t keep_description(unsigned, const H5E_error2_t* entry, void* text) {
  if (entry->desc != nullptr && *entry->desc != '\0')
    *static_cast<std::string*>(text) = entry->desc;
  return 0;
}

constexpr const char* kLockingVariable = "HDF5_USE_FILE_LOCKING";  ///< of HDF5

/// The name of the function in the text of a call: "H5Dopen2(file, ...)" -> "H5Dopen2".
std::string_view function_name(std::string_view call) {
  return call.substr(0, call.find('('));
}

Hdf5Attribute open_attribute(hid_t object, const std::filesystem::path& path, const char* name) {
  if (!has_attribute(object, name))
    fail(ExitStatus::bad_data, "{}: the attribute \"{}\" is missing", path.string(), name);
  return Hdf5Attribute(ESPALIER_HDF5(bad_data, path, H5Aopen(object, name, H5P_DEFAULT)));
}

void write_scalar(hid_t object, const std::filesystem::path& path, const char* name, hid_t type,
                  const void* value) {
  Hdf5Space space(ESPALIER_HDF5(io_error, path, H5Screate(H5S_SCALAR)));
  Hdf5Attribute attribute(ESPALIER_HDF5(
      io_error, path, H5Acreate2(object, name, type, space.get(), H5P_DEFAULT, H5P_DEFAULT)));
  ESPALIER_HDF5(io_error, path, H5Awrite(attribute.get(), type, value));
}

/// Scalar attributes only: an array would be read past the end of a single value.
void require_scalar(const Hdf5Attribute& attribute, const std::filesystem::path& path,
                    const char* name) {
  Hdf5Space space(ESPALIER_HDF5(bad_data, path, H5Aget_space(attribute.get())));
  if (H5Sget_simple_extent_npoints(space.get()) != 1)
    fail(ExitStatus::bad_data, "{}: the attribute \"{}\" is not a single value", path.string(),
         name);
}

}  // namespace

std::unique_lock<std::mutex> hdf5_lock() {
  static std::mutex mutex;
  std::unique_lock<std::mutex> lock(mutex);
  static const herr_t silent = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  static_cast<void>(silent);
  return lock;
}

void hdf5_failed(ExitStatus status, const std::filesystem::path& path, const char* call) {
  std::string reason;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_description, &reason);
  H5Eclear2(H5E_DEFAULT);
  // The variable has the last word over hdf5_file_access(). Nothing is known of the file then.
  const char* const locking = std::getenv(kLockingVariable);
  require(locking == nullptr || reason.find(" lock") == reason.npos, ExitStatus::io_error,
          "{}: {} failed: {}. {}={} in the environment makes HDF5 lock every file, which is not "
          "possible here: unset it (nothing here needs it)",
          path.string(), function_name(call), reason, kLockingVariable,
          locking == nullptr ? "" : locking);
  fail(status, "{}: {} failed{}{}", path.string(), function_name(call), reason.empty() ? "" : ": ",
       reason);
}

Hdf5PropertyList hdf5_file_access(const std::filesystem::path& path) {
  Hdf5PropertyList access(ESPALIER_HDF5(io_error, path, H5Pcreate(H5P_FILE_ACCESS)));
  ESPALIER_HDF5(io_error, path, H5Pset_file_locking(access.get(), false, true));
  return access;
}

Hdf5File hdf5_open_to_read(const std::filesystem::path& path) {
  const Hdf5PropertyList access = hdf5_file_access(path);
  return Hdf5File(
      ESPALIER_HDF5(bad_data, path, H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get())));
}

Hdf5File hdf5_open_to_change(const std::filesystem::path& path) {
  const Hdf5PropertyList access = hdf5_file_access(path);
  return Hdf5File(ESPALIER_HDF5(io_error, path, H5Fopen(path.c_str(), H5F_ACC_RDWR, access.get())));
}

void hdf5_close(Hdf5File&& file, const std::filesystem::path& path) {
  // H5Fclose drops the file even when its flush fails, so the flush is asked for by itself.
  ESPALIER_HDF5(io_error, path, H5Fflush(file.get(), H5F_SCOPE_LOCAL));
  ESPALIER_HDF5(io_error, path, H5Fclose(file.release()));
}

Hdf5Output::Hdf5Output(const std::filesystem::path& path, Start start)
    : path_(path), file_(H5I_INVALID_HID) {
  const Hdf5PropertyList access = hdf5_file_access(path);
  // Layouts before 1.8 have no checksums over HDF5's own structures.
  ESPALIER_HDF5(io_error, path,
                H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_V110));
  ESPALIER_HDF5(io_error, path, H5Pset_alignment(access.get(), 1, 64));
  // Array data goes straight to the file: nothing of it is left for a close that could fail.
  ESPALIER_HDF5(io_error, path, H5Pset_sieve_buf_size(access.get(), 0));
  if (start == Start::as_is) {
    file_ = ESPALIER_HDF5(io_error, path, H5Fopen(path.c_str(), H5F_ACC_RDWR, access.get()));
    return;
  }
  // Without the times at which groups were made, equal contents are equal files.
  const Hdf5PropertyList creation(ESPALIER_HDF5(io_error, path, H5Pcreate(H5P_FILE_CREATE)));
  ESPALIER_HDF5(io_error, path, H5Pset_obj_track_times(creation.get(), false));
  file_ = ESPALIER_HDF5(io_error, path,
                        H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()));
}

Hdf5Output::~Hdf5Output() {
  if (file_ >= 0) abandon();
}

void Hdf5Output::close() {
  ESPALIER_HDF5(io_error, path_, H5Fflush(file_, H5F_SCOPE_LOCAL));
  ESPALIER_HDF5(io_error, path_, H5Fclose(std::exchange(file_, H5I_INVALID_HID)));
}

void Hdf5Output::abandon() {
  // What HDF5 insists on writing goes to an anonymous file in memory (a few kilobytes).
  void* handle = nullptr;
  if (H5Fget_vfd_handle(file_, H5P_DEFAULT, &handle) >= 0 && handle != nullptr) {
    const int memory = ::memfd_create("abandoned", MFD_CLOEXEC);
    if (memory >= 0) {
      ::dup2(memory, *static_cast<int*>(handle));
      ::close(memory);
    }
  }
  H5Fclose(file_);
  H5Eclear2(H5E_DEFAULT);
}

void write_attribute(hid_t object, const std::filesystem::path& path, const char* name,
                     const std::string& value) {
  ESPALIER_ASSERT(value.size() <= 60000, "{} has {} bytes", name, value.size());
  Hdf5Type type(ESPALIER_HDF5(io_error, path, H5Tcopy(H5T_C_S1)));
  // HDF5 has no strings of length zero: an empty value is one padding byte.
  ESPALIER_HDF5(io_error, path, H5Tset_size(type.get(), value.empty() ? 1 : value.size()));
  ESPALIER_HDF5(io_error, path, H5Tset_strpad(type.get(), H5T_STR_NULLPAD));
  ESPALIER_HDF5(io_error, path, H5Tset_cset(type.get(), H5T_CSET_UTF8));
  write_scalar(object, path, name, type.get(), value.empty() ? "\0" : value.data());
}

void write_attribute(hid_t object, const std::filesystem::path& path, const char* name,
                     std::uint64_t value) {
  write_scalar(object, path, name, H5T_NATIVE_UINT64, &value);
}

std::string read_string_attribute(hid_t object, const std::filesystem::path& path,
                                  const char* name) {
  const Hdf5Attribute attribute = open_attribute(object, path, name);
  require_scalar(attribute, path, name);
  const Hdf5Type type(ESPALIER_HDF5(bad_data, path, H5Aget_type(attribute.get())));
  if (H5Tget_class(type.get()) != H5T_STRING)
    fail(ExitStatus::bad_data, "{}: the attribute \"{}\" is not a string", path.string(), name);

  // A file made or edited by other tools (h5py) may hold a string of variable length.
  if (H5Tis_variable_str(type.get()) > 0) {
    char* text = nullptr;
    ESPALIER_HDF5(bad_data, path, H5Aread(attribute.get(), type.get(), &text));
    std::string value = text == nullptr ? "" : text;
    H5free_memory(text);
    return value;
  }
  std::string value(H5Tget_size(type.get()), '\0');
  ESPALIER_HDF5(bad_data, path, H5Aread(attribute.get(), type.get(), value.data()));
  value.resize(value.find_last_not_of('\0') + 1);
  return value;
}

std::uint64_t read_u64_attribute(hid_t object, const std::filesystem::path& path,
                                 const char* name) {
  const Hdf5Attribute attribute = open_attribute(object, path, name);
  require_scalar(attribute, path, name);
  const Hdf5Type type(ESPALIER_HDF5(bad_data, path, H5Aget_type(attribute.get())));
  if (H5Tget_class(type.get()) != H5T_INTEGER)
    fail(ExitStatus::bad_data, "{}: the attribute \"{}\" is not an integer", path.string(), name);
  std::uint64_t value = 0;
  ESPALIER_HDF5(bad_data, path, H5Aread(attribute.get(), H5T_NATIVE_UINT64, &value));
  return value;
}

bool has_attribute(hid_t object, const char* name) {
  return H5Aexists(object, name) > 0;
}

}  // namespace espalier::io
