"""Lightning callbacks for routerlab's runs, one a file; named in recipes, imported by nothing else.

Reached as `routerlab.callbacks` through a link inside the package.
"""

from routerlab.callbacks.adapters import AdapterSaver
from routerlab.callbacks.progress import Progress
from routerlab.callbacks.rng import RngState
from routerlab.callbacks.run_folder import RunFolder

__all__ = ["AdapterSaver", "Progress", "RngState", "RunFolder"]
