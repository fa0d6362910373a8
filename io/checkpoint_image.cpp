#include "io/checkpoint_image.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>

#include "base/error.hpp"

namespace espalier::io {

void Hdf5Image::write(std::uint64_t offset, const void* data, std::uint64_t bytes) {
  const auto* from = static_cast<const std::byte*>(data);
  size_ = std::max(size_, offset + bytes);
  while (bytes > 0) {
    const std::uint64_t within = offset % kBlockBytes;
    const std::uint64_t part = std::min(bytes, kBlockBytes - within);
    std::vector<std::byte>& block = blocks_[offset / kBlockBytes];
    block.resize(kBlockBytes);
    std::memcpy(block.data() + within, from, part);
    from += part;
    offset += part;
    bytes -= part;
  }
}

void Hdf5Image::read(std::uint64_t offset, void* data, std::uint64_t bytes) const {
  auto* to = static_cast<std::byte*>(data);
  while (bytes > 0) {
    const std::uint64_t within = offset % kBlockBytes;
    const std::uint64_t part = std::min(bytes, kBlockBytes - within);
    const auto found = blocks_.find(offset / kBlockBytes);
    if (found == blocks_.end()) {
      std::memset(to, 0, part);
    } else {
      std::memcpy(to, found->second.data() + within, part);
    }
    to += part;
    offset += part;
    bytes -= part;
  }
}

void Hdf5Image::for_each_block(
    const std::function<void(std::uint64_t, std::span<const std::byte>)>& action) const {
  for (const auto& [number, block] : blocks_) action(number * kBlockBytes, block);
}

FileDescriptor Hdf5Image::save_as(const std::filesystem::path& path) const {
  FileDescriptor out(path, O_RDWR | O_CREAT | O_TRUNC);
  out.resize(size_);
  for (const auto& [number, block] : blocks_) {
    const std::uint64_t offset = number * kBlockBytes;
    if (offset >= size_) break;
    out.write_at(block.data(), std::min(kBlockBytes, size_ - offset), offset);
  }
  return out;
}

// The driver: HDF5's table of functions over an image. Nothing may throw through HDF5.
namespace {

struct ImageFile {
  H5FD_t base;  ///< HDF5's part, which must come first
  Hdf5Image* image;
  haddr_t allocated;
};

struct ImageAccess {
  Hdf5Image* image;
};

ImageFile* of(H5FD_t* file) {
  return reinterpret_cast<ImageFile*>(file);
}
const ImageFile* of(const H5FD_t* file) {
  return reinterpret_cast<const ImageFile*>(file);
}

H5FD_t* open_image(const char*, unsigned flags, hid_t access, haddr_t) {
  const auto* info = static_cast<const ImageAccess*>(H5Pget_driver_info(access));
  auto* file = new (std::nothrow) ImageFile{};
  if (info == nullptr || file == nullptr) {
    delete file;
    return nullptr;
  }
  file->image = info->image;
  if ((flags & H5F_ACC_TRUNC) != 0) *file->image = Hdf5Image();
  return &file->base;
}

herr_t close_image(H5FD_t* file) {
  delete of(file);
  return 0;
}

int compare_images(const H5FD_t* a, const H5FD_t* b) {
  if (of(a)->image == of(b)->image) return 0;
  return std::less<>()(of(a)->image, of(b)->image) ? -1 : 1;
}

herr_t describe_driver(const H5FD_t*, unsigned long* flags) {
  *flags =
      H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_AGGREGATE_SMALLDATA;
  return 0;
}

haddr_t allocated_end(const H5FD_t* file, H5FD_mem_t) {
  return of(file)->allocated;
}

herr_t set_allocated_end(H5FD_t* file, H5FD_mem_t, haddr_t end) {
  of(file)->allocated = end;
  return 0;
}

haddr_t content_end(const H5FD_t* file, H5FD_mem_t) {
  return of(file)->image->size();
}

herr_t read_image(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t offset, size_t bytes, void* data) {
  of(file)->image->read(offset, data, bytes);
  return 0;
}

herr_t write_image(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t offset, size_t bytes,
                   const void* data) {
  try {
    of(file)->image->write(offset, data, bytes);
    return 0;
  } catch (const std::exception&) {
    return -1;  // out of memory
  }
}

herr_t truncate_image(H5FD_t* file, hid_t, hbool_t) {
  of(file)->image->resize(of(file)->allocated);
  return 0;
}

hid_t register_driver() {
  static const H5FD_class_t driver = [] {
    H5FD_class_t table{};
#if H5_VERSION_GE(1, 13, 2)
    table.version = H5FD_CLASS_VERSION;
#endif
    table.name = "espalier_image";
    table.maxaddr = static_cast<haddr_t>(INT64_MAX);
    table.fc_degree = H5F_CLOSE_WEAK;
    table.fapl_size = sizeof(ImageAccess);
    table.open = open_image;
    table.close = close_image;
    table.cmp = compare_images;
    table.query = describe_driver;
    table.get_eoa = allocated_end;
    table.set_eoa = set_allocated_end;
    table.get_eof = content_end;
    table.read = read_image;
    table.write = write_image;
    table.truncate = truncate_image;
    const H5FD_mem_t kinds[H5FD_MEM_NTYPES] = H5FD_FLMAP_DICHOTOMY;
    std::copy(std::begin(kinds), std::end(kinds), std::begin(table.fl_map));
    return table;
  }();
  return H5FDregister(&driver);
}

}  // namespace

void use_image(hid_t access, Hdf5Image& image) {
  static const hid_t driver = ESPALIER_HDF5(internal, "memory", register_driver());
  const ImageAccess info{&image};
  ESPALIER_HDF5(internal, "memory", H5Pset_driver(access, driver, &info));
}

}  // namespace espalier::io
