/* A driver without a device, named libcuda.so.1. cuDNN does not plan without a driver, not even for
 * a device that it is told of: it asks what the driver is and hands it the code that it has made.
 * Here that succeeds, and whatever would need a device fails. */
enum { kSuccess = 0, kNoDevice = 100 };

int cuDriverGetVersion(int* version) {
  *version = 13000;
  return kSuccess;
}
int cuGetErrorString(int error, const char** text) {
  (void)error;
  *text = "the driver's stand-in has no device";
  return kSuccess;
}
int cuGetErrorName(int error, const char** text) {
  return cuGetErrorString(error, text);
}

static int something;
static int hand_out(void** handle) {
  *handle = &something;
  return kSuccess;
}
int cuLibraryLoadData(void** library) {
  return hand_out(library);
}
int cuLibraryGetKernel(void** kernel) {
  return hand_out(kernel);
}
int cuKernelGetAttribute(int* value) {
  *value = 0;
  return kSuccess;
}
int cuKernelSetAttribute(void) {
  return kSuccess;
}
int cuLibraryUnload(void) {
  return kSuccess;
}

#define FAILS(name) \
  int name(void) { return kNoDevice; }
FAILS(cuInit)
FAILS(cuCtxGetCurrent)
FAILS(cuCtxGetDevice)
FAILS(cuCtxGetLimit)
FAILS(cuCtxPopCurrent)
FAILS(cuCtxPushCurrent)
FAILS(cuDeviceGet)
FAILS(cuDeviceGetAttribute)
FAILS(cuDeviceGetCount)
FAILS(cuDevicePrimaryCtxRelease)
FAILS(cuDevicePrimaryCtxReset)
FAILS(cuDevicePrimaryCtxRetain)
FAILS(cuFuncGetAttribute)
FAILS(cuFuncSetAttribute)
FAILS(cuKernelGetFunction)
FAILS(cuLaunchCooperativeKernel)
FAILS(cuLaunchKernel)
FAILS(cuLaunchKernelEx)
FAILS(cuLibraryLoadFromFile)
FAILS(cuLinkAddData)
FAILS(cuLinkAddData_v2)
FAILS(cuLinkAddFile_v2)
FAILS(cuLinkComplete)
FAILS(cuLinkCreate)
FAILS(cuLinkCreate_v2)
FAILS(cuLinkDestroy)
FAILS(cuMemcpyDtoH_v2)
FAILS(cuModuleGetFunction)
FAILS(cuModuleGetGlobal_v2)
FAILS(cuModuleLoadData)
FAILS(cuModuleLoadDataEx)
FAILS(cuModuleLoadFatBinary)
FAILS(cuModuleUnload)
FAILS(cuOccupancyMaxActiveBlocksPerMultiprocessor)
FAILS(cuOccupancyMaxPotentialClusterSize)
FAILS(cuStreamGetCtx)
FAILS(cuStreamSynchronize)
FAILS(cuTensorMapEncodeTiled)
