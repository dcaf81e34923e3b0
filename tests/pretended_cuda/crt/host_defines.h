// What the runtime's header expects of this file: words that a C compiler without CUDA does not know.
#ifndef PRETENDED_HOST_DEFINES
#define PRETENDED_HOST_DEFINES
#define CUDARTAPI
#define CUDARTAPI_CDECL
#define __align__(n) __attribute__((aligned(n)))
#define __builtin_align__(n) __align__(n)
#define __cudart_builtin__
#define __device__
#define __device_builtin__
#define __device_builtin_surface_type__
#define __device_builtin_texture_type__
#define __host__
#define __location__(a)
#define __specialization_static
#define CUDA_ENABLE_CRT_EXCEPTION_ATTRIBUTES
#define __CRT_NOEXCEPT
#endif
