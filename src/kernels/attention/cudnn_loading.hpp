#pragma once

namespace espalier::kernels::cudnn_loading {

// dlopen and dlsym for cuDNN's frontend. It looks CUDA's runtime up in a shared library and throws
// when it finds two. This program has the runtime inside, so that the frontend is handed that one.

/// A library, or null; for the name of CUDA's runtime what stands for the one inside.
void* open(const char* name, int mode);
/// A function of it, or null.
void* find(void* library, const char* name);

}  // namespace espalier::kernels::cudnn_loading
