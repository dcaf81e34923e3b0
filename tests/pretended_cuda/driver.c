// The driver's library beside the pretended runtime: PyTorch looks for these names in it, and each of them succeeds.
#define OK(name) int name() { return 0; }
int cuDevicePrimaryCtxGetState(int device, unsigned* flags, int* active) { *flags = 0; *active = 1; return 0; }
int cuGetErrorString(int e, const char** text) { *text = "pretended"; return 0; }
OK(cuInit) OK(cuModuleLoadData) OK(cuModuleLoadDataEx) OK(cuModuleGetFunction) OK(cuModuleUnload) OK(cuLaunchKernel)
OK(cuCtxGetCurrent) OK(cuCtxSetCurrent) OK(cuDeviceGetCount) OK(cuDeviceGetAttribute) OK(cuDriverGetVersion)
OK(cuDevicePrimaryCtxRetain) OK(cuFuncSetAttribute) OK(cuFuncGetAttribute) OK(cuLinkCreate) OK(cuStreamWriteValue32)
OK(cuGetProcAddress) OK(cuGetProcAddress_v2)
