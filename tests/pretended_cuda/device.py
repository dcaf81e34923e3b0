"""Tensors that say `cuda:0` and keep their numbers on the host

Above the pretended runtime, PyTorch's own allocator, streams, autograd and recordings run as on a GPU. Kernels do not. So each operation on such a
tensor is computed on the host; the runtime is told on which device and stream it would run; and what a GPU would refuse is refused: two devices in
one operation, and waiting for the device while a step is recorded. A recording keeps its operations, changes nothing, and a replay computes them.
"""
import ctypes, os
from functools import lru_cache
import torch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
HOST = torch.device('cpu')
COPIES = {aten._to_copy.default, aten.copy_.default}
READS = {aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten._unique2.default, aten.unique_dim.default,
         aten.equal.default, aten.bincount.default, aten.repeat_interleave.Tensor}
INDEXES = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
RANDOM = 'rand', 'bernoulli', 'normal', 'dropout', 'exponential', 'multinomial', 'uniform'

runtime = ctypes.CDLL(os.environ['PRETENDED_RUNTIME'])
runtime.pretended_kernel.argtypes = runtime.pretended_recorded.argtypes = [ctypes.c_int, ctypes.c_void_p]
current_stream = torch._C._cuda_getCurrentRawStream
waits = [] # each time that the host waited for a device: what for

def mapped(f, o):
    "`f` of everything in nested tuples, lists and dicts"
    if isinstance(o, (tuple, list)): return type(o)([mapped(f, v) for v in o])
    return {k: mapped(f, v) for k, v in o.items()} if isinstance(o, dict) else f(o)

def tensors_in(o):
    found = []
    mapped(lambda v: found.append(v) if isinstance(v, torch.Tensor) else None, o)
    return found

class OnCuda(torch.Tensor):
    "A tensor on a device that is not there; `host` has its numbers"
    @staticmethod
    def __new__(cls, host, device):
        like = dict(strides=host.stride(), storage_offset=host.storage_offset(), dtype=host.dtype, layout=host.layout, device=device)
        self = torch.Tensor._make_wrapper_subclass(cls, host.size(), **like, requires_grad=False)
        self.host = host
        return self
    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None): return compute(func, args, kwargs or {})
    def __repr__(self, **kw): return f'OnCuda({list(self.shape)}, {self.device})'
    def data_ptr(self): return self.host.data_ptr()
    def __deepcopy__(self, memo):
        copied = self.detach().clone()
        memo[id(self)] = torch.nn.Parameter(copied, self.requires_grad) if isinstance(self, torch.nn.Parameter) else copied
        return memo[id(self)]
    def tolist(self):
        wait(self.device, 'tolist')
        return self.host.tolist()
    def numpy(self): raise TypeError("can't convert cuda device type tensor to numpy")

class Pretended(TorchDispatchMode):
    "Inside, what is asked of CUDA is computed so"
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if kwargs.get('pin_memory'): kwargs['pin_memory'] = False
        cuda = 'cuda' in str(kwargs.get('device')) or any(o.device.type == 'cuda' for o in tensors_in((args, kwargs)))
        return compute(func, args, kwargs) if cuda else func(*args, **kwargs)

# ---- what a GPU would do and refuse

def wait(device, what):
    "The host waits for the device"
    if torch.cuda.get_sync_debug_mode() == 2: raise RuntimeError('called a synchronizing CUDA operation')
    waits.append(what)
    torch.cuda.current_stream(device).synchronize() # in a recording it fails, as on a GPU

def launch(device, what)->bool: # is it recorded?
    "A kernel on the device's current stream"
    stream = current_stream(device.index)
    if error := runtime.pretended_kernel(device.index, stream): raise RuntimeError(f'CUDA error {error}: invalid resource handle ({what} on {device})')
    return recording is not None and bool(runtime.pretended_recorded(device.index, stream))

def exact(device): return torch.device('cuda', torch.cuda.current_device()) if device.type == 'cuda' and device.index is None else device

def where(func, tensors, kwargs):
    "The device of the result; two devices are refused, but for single numbers and indices of the host"
    there = {o.device for o in tensors if isinstance(o, OnCuda)}
    if func in COPIES:
        target = tensors[0].device if func is aten.copy_.default else kwargs.get('device') or tensors[0].device
        return exact(torch.device(target))
    here = {o.device for o in tensors if o.ndim and not isinstance(o, OnCuda)} if func not in INDEXES else set()
    if len(there | here) > 1: raise RuntimeError(f'Expected all tensors to be on the same device, but found {sorted(map(str, there | here))}: {func}')
    asked = kwargs.get('device')
    return exact(torch.device(asked)) if asked is not None else next(iter(there), HOST)

def look_for_waits(func, args, kwargs, tensors, device):
    "Where the host has to wait: numbers that it reads, masks as indices, and copies that are not sent ahead"
    if func in COPIES:
        source = tensors[-1].device
        ahead = kwargs.get('non_blocking') or func is aten.copy_.default and args[2:] and args[2]
        if source != device and not ahead:
            for o in {source, device} - {HOST}: wait(o, f'{func} from {source} to {device}')
    elif func in READS: wait(device, str(func))
    elif func in INDEXES:
        given = [i for i in args[1] if i is not None]
        if any(i.dtype in (torch.bool, torch.uint8) for i in given): wait(device, f'{func} by a mask')
        if not all(isinstance(i, OnCuda) for i in given): wait(device, f'{func} by numbers of the host')

# ---- numbers, now and in a replay

recording = None # a list of operations, while a step is recorded
overwritten = [] # what they wrote over meanwhile
own = None # the generator of the student whose step is recorded

@lru_cache(maxsize=None)
def is_random(func): return any(o in str(func) for o in RANDOM) and 'backward' not in str(func)

@lru_cache(maxsize=None)
def writes(func): # places and names of the arguments that it writes to
    "Batch norms write to running statistics, of which their schema does not speak"
    norm = 'batch_norm' in str(func)
    def written(a): return a.name.startswith('running') if norm else a.alias_info is not None and a.alias_info.is_write
    return [(i, a.name) for i, a in enumerate(func._schema.arguments) if written(a)]

def drawn(func, args, kwargs, generator):
    "Random numbers that depend on the generator's seed and on how often it was asked, as on a GPU"
    with torch.random.fork_rng([]):
        if torch.cuda.is_current_stream_capturing(): return func(*args, **kwargs) # a recording only allots the place
        torch.default_generator.manual_seed(generator.initial_seed() + generator.get_offset())
        out = func(*args, **kwargs)
    generator.set_offset(generator.get_offset() + 4)
    return out

def adopted(o): # what PyTorch copied to the device by itself lies in the runtime's memory, which is the host's
    if not isinstance(o, torch.Tensor) or isinstance(o, OnCuda) or o.device.type != 'cuda': return o
    size = max(o.untyped_storage().nbytes(), 1)
    memory = torch.frombuffer(bytearray(ctypes.string_at(o.untyped_storage().data_ptr(), size)), dtype=torch.uint8)
    return OnCuda(memory.view(o.dtype).as_strided(o.shape, o.stride(), o.storage_offset()).clone(), o.device)

def on_host(o):
    if isinstance(o, OnCuda): return o.host
    return HOST if isinstance(o, torch.device) and o.type == 'cuda' else o

def compute(func, args, kwargs):
    "An operation of which a part is on a device"
    if func is aten.record_stream.default: return None
    args, kwargs = mapped(adopted, args), mapped(adopted, kwargs)
    tensors = tensors_in((args, kwargs))
    device, recorded = where(func, tensors, kwargs), False
    cuda = {device, *(o.device for o in tensors if isinstance(o, OnCuda))} - {HOST}
    if cuda and not func.is_view:
        look_for_waits(func, args, kwargs, tensors, device if device != HOST else next(iter(cuda)))
        recorded = [launch(o, func) for o in cuda][0]
    out = numbers(func, mapped(on_host, args), mapped(on_host, kwargs), device, recorded)
    if device == HOST: return out
    back = {id(o.host): o for o in tensors if isinstance(o, OnCuda)} # what is returned as it was given
    return mapped(lambda o: (back[id(o)] if id(o) in back else OnCuda(o, device)) if isinstance(o, torch.Tensor) else o, out)

def numbers(func, args, kwargs, device, recorded):
    "Compute on the host; in a recording, keep what a replay has to do"
    run = lambda: func(*args, **kwargs)
    if device != HOST and is_random(func):
        kwargs = {k: v for k, v in kwargs.items() if k != 'generator'}
        generator = own or torch.cuda.default_generators[device.index]
        run = lambda: drawn(func, args, kwargs, generator)
    if recorded:
        changed = [args[i] if i < len(args) else kwargs.get(name) for i, name in writes(func)]
        overwritten.extend((o, o.clone()) for o in tensors_in(changed))
    out = run()
    if recorded: recording.append((run, tensors_in(out)))
    return out

def compute_again(operations):
    for run, outs in operations:
        for old, o in zip(outs, tensors_in(run())):
            if o is not old: old.copy_(o)

class Recording(torch.cuda.CUDAGraph):
    "A CUDA graph that also keeps its operations"
    def capture_begin(self, *args, **kwargs):
        global recording
        super().capture_begin(*args, **kwargs)
        recording = self.operations = []
    def capture_end(self):
        global recording
        recording = None
        super().capture_end()
        with torch.no_grad():
            while overwritten: # a recording changes nothing
                o, before = overwritten.pop()
                o.copy_(before)
    def replay(self):
        super().replay()
        with torch.no_grad(): compute_again(self.operations)

torch.cuda.CUDAGraph = torch.cuda.graphs.CUDAGraph = Recording
torch.__future__.set_overwrite_module_params_on_conversion(True) # a parameter cannot become one of these otherwise

convert = torch.nn.Module._apply
def stays(self, *args, **kwargs):
    "A parameter that is there already stays the one that the optimizer knows, as on a GPU"
    before = {k: p for k, p in self._parameters.items() if isinstance(p, OnCuda)}
    convert(self, *args, **kwargs)
    for k, old in before.items():
        new = self._parameters[k]
        if isinstance(new, OnCuda) and new.host.data_ptr() == old.host.data_ptr(): self._parameters[k] = old
    return self
torch.nn.Module._apply = stays
torch.backends.cudnn.enabled = False
