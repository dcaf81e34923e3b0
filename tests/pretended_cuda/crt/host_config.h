// The packages of PyTorch bring the runtime's header without this file that it includes; nothing of it is needed here.
