// A CUDA runtime for a machine without a GPU, put before the real one by LD_PRELOAD.
// Its devices have host memory and run no kernel. It keeps the books that a real one keeps: which device a stream
// belongs to, which streams are recorded, how many kernels a recording holds. It refuses what a real one refuses.
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define API __attribute__((visibility("default"))) cudaError_t
#define DEVICES 2

typedef struct { int device, recorded; } Stream;
typedef struct { int recorded; } Event;

static Stream usual[DEVICES] = {{0, 0}, {1, 0}}; // the stream of a device that has no handle
static __thread int current;                     // device
static __thread cudaError_t last;
static Stream* branches[1024];                   // the streams of the recording under way
static int n_branches, broken, kernels;
static unsigned long long recording;             // its number
static int graph;                                // stands for every graph

static cudaError_t fail(cudaError_t e) { return last = e; }
static Stream* of(cudaStream_t s) { return (size_t)s < 3 ? &usual[current] : (Stream*)s; }
static cudaError_t waits(int recorded, cudaError_t e) { // the host waits, or asks how far the device is
    if (!n_branches || !recorded) return cudaSuccess;
    broken = 1;
    return fail(e);
}
static cudaError_t work(cudaStream_t s) { // a kernel or a copy on a stream
    Stream* o = of(s);
    if (o->device != current) return fail(cudaErrorInvalidResourceHandle);
    if (o->recorded) kernels++;
    return cudaSuccess;
}

// Devices
API cudaGetDeviceCount(int* n) { *n = DEVICES; return cudaSuccess; }
API cudaGetDevice(int* d) { *d = current; return cudaSuccess; }
API cudaSetDevice(int d) { if (d < 0 || d >= DEVICES) return fail(cudaErrorInvalidDevice); current = d; return cudaSuccess; }
API cudaDriverGetVersion(int* v) { *v = CUDART_VERSION; return cudaSuccess; }
API cudaRuntimeGetVersion(int* v) { *v = CUDART_VERSION; return cudaSuccess; }
API cudaGetDeviceProperties(struct cudaDeviceProp* p, int d) {
    memset(p, 0, sizeof *p);
    strcpy(p->name, "Pretended card");
    p->major = 9; p->warpSize = 32; p->multiProcessorCount = 132; p->totalGlobalMem = 80ull << 30; p->l2CacheSize = 50 << 20;
    p->maxThreadsPerBlock = 1024; p->maxThreadsPerMultiProcessor = 2048; p->maxGridSize[0] = p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->sharedMemPerBlock = 48 << 10; p->sharedMemPerMultiprocessor = 228 << 10; p->regsPerMultiprocessor = 65536; p->textureAlignment = 512;
    return cudaSuccess;
}
API cudaDeviceGetAttribute(int* v, enum cudaDeviceAttr a, int d) {
    *v = a == cudaDevAttrComputeCapabilityMajor ? 9 : a == cudaDevAttrMultiProcessorCount ? 132 : 0;
    return cudaSuccess;
}
API cudaDeviceGetStreamPriorityRange(int* low, int* high) { *low = 0; *high = -5; return cudaSuccess; }
API cudaDeviceGetPCIBusId(char* s, int n, int d) { snprintf(s, n, "0000:0%d:00.0", d); return cudaSuccess; }
API cudaDeviceCanAccessPeer(int* v, int a, int b) { *v = 0; return cudaSuccess; }
API cudaDeviceSynchronize(void) { return waits(1, cudaErrorStreamCaptureUnsupported); }
API cudaGetLastError(void) { cudaError_t e = last; last = cudaSuccess; return e; }
API cudaPeekAtLastError(void) { return last; }

// Memory
API cudaMalloc(void** p, size_t n) { *p = aligned_alloc(512, (n+511)/512*512); return *p ? cudaSuccess : fail(cudaErrorMemoryAllocation); }
API cudaFree(void* p) { free(p); return cudaSuccess; }
API cudaHostAlloc(void** p, size_t n, unsigned flags) { return cudaMalloc(p, n); }
API cudaFreeHost(void* p) { return cudaFree(p); }
API cudaHostRegister(void* p, size_t n, unsigned flags) { return cudaSuccess; }
API cudaHostUnregister(void* p) { return cudaSuccess; }
API cudaMemGetInfo(size_t* left, size_t* all) { *left = 79ull << 30; *all = 80ull << 30; return cudaSuccess; }
API cudaMemcpyAsync(void* a, const void* b, size_t n, enum cudaMemcpyKind k, cudaStream_t s) { memcpy(a, b, n); return work(s); }
API cudaMemcpy(void* a, const void* b, size_t n, enum cudaMemcpyKind k) { memcpy(a, b, n); return waits(1, cudaErrorStreamCaptureUnsupported); }
API cudaMemsetAsync(void* a, int v, size_t n, cudaStream_t s) { memset(a, v, n); return work(s); }
API cudaMemset(void* a, int v, size_t n) { memset(a, v, n); return cudaSuccess; }
API cudaPointerGetAttributes(struct cudaPointerAttributes* a, const void* p) { memset(a, 0, sizeof *a); return cudaSuccess; }

// Streams and events
API cudaStreamCreateWithPriority(cudaStream_t* s, unsigned flags, int p) {
    Stream* o = calloc(1, sizeof *o);
    o->device = current;
    *s = (cudaStream_t)o;
    return cudaSuccess;
}
API cudaStreamCreateWithFlags(cudaStream_t* s, unsigned flags) { return cudaStreamCreateWithPriority(s, flags, 0); }
API cudaStreamCreate(cudaStream_t* s) { return cudaStreamCreateWithPriority(s, 0, 0); }
API cudaStreamDestroy(cudaStream_t s) { return cudaSuccess; }
API cudaStreamGetPriority(cudaStream_t s, int* p) { *p = 0; return cudaSuccess; }
API cudaStreamSynchronize(cudaStream_t s) { return waits(of(s)->recorded, cudaErrorStreamCaptureUnsupported); }
API cudaStreamQuery(cudaStream_t s) { return waits(of(s)->recorded, cudaErrorStreamCaptureUnsupported); }
API cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags) { // a branch of a recording begins
    Stream* o = of(s);
    int recorded = ((Event*)e)->recorded;
    if (!n_branches || recorded == o->recorded) return cudaSuccess;
    if (!recorded) return waits(1, cudaErrorStreamCaptureIsolation);
    o->recorded = 1;
    branches[n_branches++] = o;
    return cudaSuccess;
}
API cudaEventCreateWithFlags(cudaEvent_t* e, unsigned flags) { *e = (cudaEvent_t)calloc(1, sizeof(Event)); return cudaSuccess; }
API cudaEventCreate(cudaEvent_t* e) { return cudaEventCreateWithFlags(e, 0); }
API cudaEventDestroy(cudaEvent_t e) { return cudaSuccess; }
API cudaEventRecord(cudaEvent_t e, cudaStream_t s) { ((Event*)e)->recorded = of(s)->recorded; return cudaSuccess; }
API cudaEventRecordWithFlags(cudaEvent_t e, cudaStream_t s, unsigned flags) { return cudaEventRecord(e, s); }
API cudaEventQuery(cudaEvent_t e) { return waits(((Event*)e)->recorded, cudaErrorCapturedEvent); }
API cudaEventSynchronize(cudaEvent_t e) { return cudaEventQuery(e); }
API cudaEventElapsedTime(float* t, cudaEvent_t a, cudaEvent_t b) { *t = 0; return cudaSuccess; }

// Recordings
API cudaStreamBeginCapture(cudaStream_t s, enum cudaStreamCaptureMode m) {
    broken = kernels = n_branches = 0;
    recording++;
    branches[n_branches++] = of(s);
    of(s)->recorded = 1;
    return cudaSuccess;
}
API cudaStreamEndCapture(cudaStream_t s, cudaGraph_t* g) {
    for (int i = 0; i < n_branches; i++) branches[i]->recorded = 0;
    n_branches = 0;
    *g = broken ? 0 : (cudaGraph_t)&graph;
    return broken ? fail(cudaErrorStreamCaptureInvalidated) : cudaSuccess;
}
API cudaStreamIsCapturing(cudaStream_t s, enum cudaStreamCaptureStatus* c) {
    *c = !of(s)->recorded ? cudaStreamCaptureStatusNone : broken ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}
#if CUDART_VERSION >= 13000
#define EDGES , const cudaGraphEdgeData** edges
#define CAPTURE_INFO cudaStreamGetCaptureInfo
#else
#define EDGES
#define CAPTURE_INFO cudaStreamGetCaptureInfo_v2
#endif
API CAPTURE_INFO(cudaStream_t s, enum cudaStreamCaptureStatus* c, unsigned long long* id, cudaGraph_t* g, const cudaGraphNode_t** d EDGES, size_t* n) {
    if (id) *id = recording;
    if (g) *g = (cudaGraph_t)&graph;
    if (n) *n = 0;
    return cudaStreamIsCapturing(s, c);
}
API cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode* m) { return cudaSuccess; }
API cudaGraphGetNodes(cudaGraph_t g, cudaGraphNode_t* nodes, size_t* n) { *n = kernels; return cudaSuccess; }
API cudaGraphInstantiateWithFlags(cudaGraphExec_t* e, cudaGraph_t g, unsigned long long flags) { *e = (cudaGraphExec_t)&graph; return cudaSuccess; }
API cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t s) { return cudaSuccess; }
API cudaGraphDestroy(cudaGraph_t g) { return cudaSuccess; }
API cudaGraphExecDestroy(cudaGraphExec_t e) { return cudaSuccess; }

// Kernels
API cudaLaunchKernel(const void* f, dim3 g, dim3 b, void** a, size_t n, cudaStream_t s) { return work(s); }
API cudaLaunchKernelExC(const cudaLaunchConfig_t* c, const void* f, void** a) { return work(c->stream); }
API __cudaLaunchKernel(cudaKernel_t f, dim3 g, dim3 b, void** a, size_t n, cudaStream_t s) { return work(s); }
API __cudaLaunchKernel_ptsz(cudaKernel_t f, dim3 g, dim3 b, void** a, size_t n, cudaStream_t s) { return work(s); }
API __cudaGetKernel(cudaKernel_t* k, const void* f) { *k = (cudaKernel_t)&graph; return cudaSuccess; }
API cudaFuncSetAttribute(const void* f, enum cudaFuncAttribute a, int v) { return cudaSuccess; }
API cudaFuncGetAttributes(struct cudaFuncAttributes* a, const void* f) {
    memset(a, 0, sizeof *a);
    a->maxThreadsPerBlock = 1024; a->binaryVersion = a->ptxVersion = 90;
    return cudaSuccess;
}
API cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* n, const void* f, int b, size_t s, unsigned flags) { *n = 4; return cudaSuccess; }
static int nothing(void) { return 0; }
API cudaGetDriverEntryPointByVersion(const char* s, void** f, unsigned v, unsigned long long flags, enum cudaDriverEntryPointQueryResult* r) {
    *f = (void*)nothing;
    if (r) *r = cudaDriverEntryPointSuccess;
    return cudaSuccess;
}

// For the Python side: it computes on the host what a kernel would compute, and says here where the kernel would run
API pretended_kernel(int device, cudaStream_t s) {
    int before = current;
    current = device;
    cudaError_t e = work(s);
    current = before;
    return e;
}
__attribute__((visibility("default"))) int pretended_recorded(int device, cudaStream_t s) { return (size_t)s < 3 ? usual[device].recorded : ((Stream*)s)->recorded; }
