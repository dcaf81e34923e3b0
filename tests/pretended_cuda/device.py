"""Tensors that say `cuda:0` and keep their numbers on the host

Above the pretended runtime, PyTorch's own allocator, streams, autograd and recordings run as on a GPU. Kernels do not. So each operation on such a
tensor is computed on the host; the runtime is told on which device and stream it would run; and what a GPU would refuse is refused: two devices in
one operation, and waiting for the device while a step is recorded. A recording also keeps its operations, and a replay computes them again.
"""
import ctypes, os
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

aten = torch.ops.aten
HOST = torch.device('cpu')
READS = {aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten._unique2.default, aten.unique_dim.default,
         aten.equal.default, aten.bincount.default, aten.repeat_interleave.Tensor}
INDEXES = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
RANDOM = ('rand', 'bernoulli', 'normal', 'dropout', 'exponential', 'multinomial', 'uniform', 'random')

runtime = ctypes.CDLL(os.environ['PRETENDED_RUNTIME'])
runtime.pretended_kernel.argtypes = runtime.pretended_recorded.argtypes = [ctypes.c_int, ctypes.c_void_p]
waits = [] # each time that the host waited for a device: what for

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
    def tolist(self):
        wait(self.device, 'tolist')
        return self.host.tolist()
    def numpy(self): raise TypeError("can't convert cuda device type tensor to numpy")

def wait(device, what):
    "The host waits for the device"
    if torch.cuda.get_sync_debug_mode() == 2: raise RuntimeError('called a synchronizing CUDA operation')
    waits.append(what)
    torch.cuda.current_stream(device).synchronize() # in a recording it fails, as on a GPU

def launch(device, what):
    "A kernel on the device's current stream"
    error = runtime.pretended_kernel(device.index, torch.cuda.current_stream(device).cuda_stream)
    if error: raise RuntimeError(f'CUDA error {error}: invalid resource handle ({what} on {device})')

def adopted(o): # what PyTorch copied to the device by itself lies in the runtime's memory, which is the host's
    if not isinstance(o, torch.Tensor) or isinstance(o, OnCuda) or o.device.type != 'cuda': return o
    size = max(o.untyped_storage().nbytes(), 1)
    memory = torch.frombuffer(bytearray(ctypes.string_at(o.untyped_storage().data_ptr(), size)), dtype=torch.uint8)
    return OnCuda(memory.view(o.dtype).as_strided(o.shape, o.stride(), o.storage_offset()).clone(), o.device)

def on_host(o):
    if isinstance(o, OnCuda): return o.host
    return HOST if isinstance(o, torch.device) and o.type == 'cuda' else o

def exact(device): return torch.device('cuda', torch.cuda.current_device()) if device.index is None else device

def where(func, tensors, kwargs):
    "The device of the result; two devices are refused, but for single numbers and indices of the host"
    if func in INDEXES: tensors = [o for o in tensors if isinstance(o, OnCuda)] or tensors
    devices = {o.device for o in tensors if isinstance(o, OnCuda)} | {o.device for o in tensors if o.device.type == 'cpu' and o.ndim}
    if len(devices) > 1: raise RuntimeError(f'Expected all tensors to be on the same device, but found {sorted(map(str, devices))}: {func}')
    asked = kwargs.get('device')
    device = torch.device(asked) if asked is not None else next((o.device for o in tensors if isinstance(o, OnCuda)), HOST)
    return exact(device) if device.type == 'cuda' else device

def look_for_waits(func, args, device):
    if func in READS: wait(device, str(func))
    if func in INDEXES:
        given = [i for i in args[1] if i is not None]
        if any(i.dtype in (torch.bool, torch.uint8) for i in given): wait(device, f'{func} by a mask')
        if any(not isinstance(i, OnCuda) for i in given): wait(device, f'{func} by numbers of the host')

def copy(func, args, kwargs):
    "`to` and `copy_`, from one device to another"
    source = args[1] if func is aten.copy_.default else args[0]
    target = args[0].device if func is aten.copy_.default else torch.device(kwargs.get('device') or source.device)
    target = exact(target) if target.type == 'cuda' else target
    for device in {source.device, target} - {HOST}:
        blocking = source.device != target and not (args[2:] and args[2] or kwargs.get('non_blocking'))
        if blocking: wait(device, f'{func} from {source.device} to {target}')
        launch(device, str(func))
    return remember(func, tree_map(on_host, args), tree_map(on_host, dict(kwargs, pin_memory=False) if 'pin_memory' in kwargs else kwargs), target, args)

def compute(func, args, kwargs):
    args, kwargs = tree_map(adopted, args), tree_map(adopted, kwargs)
    if func in (aten._to_copy.default, aten.copy_.default): return copy(func, args, kwargs)
    if func is aten.record_stream.default: return None
    tensors = [o for o in tree_flatten((args, kwargs))[0] if isinstance(o, torch.Tensor)]
    device = where(func, tensors, kwargs)
    if device.type == 'cuda' and not func.is_view:
        look_for_waits(func, args, device)
        launch(device, str(func))
    return remember(func, tree_map(on_host, args), tree_map(on_host, kwargs), device, args)

# Numbers, now and in a replay

def drawn(func, args, kwargs, generator):
    "Random numbers that depend on the generator's seed and on how often it was asked, as on a GPU"
    with torch.random.fork_rng([]):
        if torch.cuda.is_current_stream_capturing(): return func(*args, **kwargs) # a recording only allots the place
        torch.default_generator.manual_seed(generator.initial_seed() + generator.get_offset())
        out = func(*args, **kwargs)
    generator.set_offset(generator.get_offset() + 4)
    return out

recording = None # a list of operations, while a step is recorded
overwritten = [] # what they wrote over meanwhile: recording changes nothing
own = None # the generator of the student whose step is recorded

def written(func, args, kwargs):
    "The tensors that an operation writes to"
    named = [(a, args[i] if i < len(args) else kwargs.get(a.name)) for i, a in enumerate(func._schema.arguments)]
    if 'batch_norm' in str(func): found = [o for a, o in named if a.name.startswith('running')] # of which its schema does not speak
    else: found = [o for a, o in named if a.alias_info is not None and a.alias_info.is_write]
    return [o for o in tree_flatten(found)[0] if isinstance(o, torch.Tensor)]

def remember(func, args, kwargs, device, given):
    "Compute on the host; in a recording, keep what a replay has to do"
    random = device.type == 'cuda' and any(o in str(func) for o in RANDOM) and 'backward' not in str(func)
    if random: kwargs = {k: v for k, v in kwargs.items() if k != 'generator'}
    generator = None if not random else own or torch.cuda.default_generators[device.index]
    records = recording is not None and device.type == 'cuda' and runtime.pretended_recorded(device.index, torch.cuda.current_stream(device).cuda_stream)
    if records: overwritten.extend((o, o.clone()) for o in written(func, args, kwargs))
    def run(): return drawn(func, args, kwargs, generator) if random else func(*args, **kwargs)
    out = run()
    outs = [o for o in tree_flatten(out)[0] if isinstance(o, torch.Tensor)]
    if records and not func.is_view: recording.append((run, outs))
    back = {id(h): g for h, g in zip(tree_flatten(args)[0], tree_flatten(given)[0]) if isinstance(h, torch.Tensor)}
    def wrap(o):
        if not isinstance(o, torch.Tensor) or device.type != 'cuda': return o
        return back.get(id(o)) if id(o) in back else OnCuda(o, device)
    return tree_map(wrap, out)

def compute_again(operations):
    for run, outs in operations:
        new = [o for o in tree_flatten(run())[0] if isinstance(o, torch.Tensor)]
        for old, o in zip(outs, new):
            if o is not old: old.copy_(o)

class Pretended(TorchDispatchMode):
    "Inside, what is asked of CUDA is computed so"
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        flat = tree_flatten((args, kwargs))[0]
        cuda = any(isinstance(o, (torch.Tensor, torch.device)) and getattr(o, 'device', o).type == 'cuda' for o in flat)
        if cuda or 'cuda' in str(kwargs.get('device')): return compute(func, args, kwargs)
        if kwargs.get('pin_memory'): kwargs['pin_memory'] = False
        return func(*args, **kwargs)

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
            while overwritten: (lambda o, before: o.copy_(before))(*overwritten.pop())
    def replay(self):
        super().replay()
        with torch.no_grad(): compute_again(self.operations)

torch.cuda.CUDAGraph = torch.cuda.graphs.CUDAGraph = Recording
torch.__future__.set_overwrite_module_params_on_conversion(True)
torch.backends.cudnn.enabled = False
