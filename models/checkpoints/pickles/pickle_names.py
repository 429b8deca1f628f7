"""Which names a pickle may ask for: those of data, not of code.

Nothing that is named is ever imported or called: what is no tensor becomes inert data (inert.py). So this list does not
keep a pickle from running, it has nothing to run; it tells a file that *wants* to run something from one that holds a
trainer's settings, so that the first is refused and somebody hears of it.

    the standard library   its data types alone (DATA); every other name of it is code
    torch                  all but the rooms that load, compile or start something
    anything else          a trainer's own classes: data, unless the package or the name is known to run things
"""

from __future__ import annotations

import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

_BUILTINS = frozenset(
    "bool bytearray bytes complex dict float frozenset int list memoryview object range set slice str tuple type "
    "Ellipsis NotImplemented ArithmeticError AssertionError AttributeError BaseException Exception ImportError "
    "IndexError KeyError LookupError NotImplementedError OSError OverflowError RuntimeError StopIteration TypeError "
    "ValueError".split()
)
_DATA_MODULES = frozenset(
    {"datetime", "decimal", "enum", "fractions", "ipaddress", "numbers", "typing", "uuid", "zoneinfo"}
)
_DATA = frozenset(
    "argparse.Namespace array.array array._array_reconstructor collections.ChainMap collections.Counter "
    "collections.OrderedDict collections.UserDict collections.UserList collections.UserString collections.defaultdict "
    "collections.deque copy_reg._reconstructor copyreg._reconstructor copyreg.__newobj__ copyreg.__newobj_ex__ "
    "_codecs.encode dataclasses.Field functools.partial logging.Logger logging.getLogger pathlib.Path "
    "pathlib.PosixPath pathlib.PurePath pathlib.PurePosixPath pathlib.PureWindowsPath pathlib.WindowsPath "
    "pathlib._local.Path pathlib._local.PosixPath pathlib._local.PurePath pathlib._local.PurePosixPath "
    "pathlib._local.PureWindowsPath pathlib._local.WindowsPath random.Random re.Pattern re._compile re.compile "
    "string.Template time.struct_time types.GenericAlias types.MappingProxyType types.SimpleNamespace "
    "_operator.getitem".split()
)
_CODE_ROOTS = frozenset(
    "IPython __builtin__ _pytest aiohttp asynchat asyncore cgi cloudpickle commands crypt cupy_backends dill distutils "
    "execnet fabric fsspec gradio httpx imp invoke ipykernel joblib jsonpickle jupyter_client nntplib nose numba "
    "numexpr paramiko pexpect pip pkg_resources plumbum popen2 psutil ptyprocess pytest requests setuptools sh smtpd "
    "telnetlib torchrun tornado twisted urllib2 urllib3 wheel yaml _distutils_hack".split()
)
_CODE_PATHS = frozenset(
    "numpy.distutils numpy.f2py numpy.load numpy.testing numpy.ctypeslib numpy.core._internal numpy.fromfile "
    "numpy.loadtxt numpy.genfromtxt numpy.save pandas.eval pandas.read_pickle pandas.io scipy.io scipy.weave "
    "sympy.sympify sympy.parsing transformers.dynamic_module_utils huggingface_hub.snapshot_download "
    "torch.hub torch.jit torch.load torch.save torch.serialization.load torch.serialization.save torch._dynamo "
    "torch._inductor torch.compile torch.package torch.multiprocessing torch.utils.cpp_extension "
    "torch.utils.collect_env torch.utils._cpp_extension torch.utils.bottleneck torch.utils.model_zoo torch.ops "
    "torch.classes torch.testing torch.distributed.rpc torch.distributed.elastic torch.distributed.run "
    "torch.distributed.launch torch.distributed.launcher torch.fx torch.export torch.onnx torch.library "
    "torch.storage._load_from_bytes torch._C._load_for_lite_interpreter".split()
)
_CODE_PARTS = frozenset(  # anywhere below the first part: a module that a package has imported, or a way out of a class
    "__builtins__ __class__ __code__ __dict__ __globals__ __import__ __init__ __loader__ __subclasses__ _os builtins "
    "ctypes importlib marshal nt os pickle posix pty runpy shutil socket subprocess sys".split()
)
_CODE_NAMES = frozenset(
    "Popen __import__ check_call check_output compile_command eval exec execfile execve getattr getoutput "
    "import_module load_module popen run_module run_path runstring spawn system".split()
)


class CodeAskedFor(Exception):
    """A pickle means to run something; `name` says what."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def current_name(module: str, name: str) -> tuple[str, str]:
    """Return the name that something of Python 2 has in Python 3, as pickle reads protocols below 3."""
    if (module, name) in NAME_MAPPING:
        return NAME_MAPPING[module, name]
    return IMPORT_MAPPING.get(module, module), name


def is_code(module: str, name: str) -> bool:
    """Whether a pickle that asks for this name means to run something."""
    path, root = f"{module}.{name}", module.partition(".")[0]
    if module == "builtins":
        return name not in _BUILTINS
    if path in _DATA or (module in _DATA_MODULES and "." not in name and (name[:1].isupper() or module == "datetime")):
        return False
    if root in sys.stdlib_module_names or root in _CODE_ROOTS:
        return True
    parts = path.split(".")
    heads = (".".join(parts[:length]) for length in range(2, len(parts) + 1))
    return (
        any(head in _CODE_PATHS for head in heads) or not _CODE_PARTS.isdisjoint(parts[1:]) or parts[-1] in _CODE_NAMES
    )
