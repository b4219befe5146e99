"""Where records live: SQLite in ``.safety/`` unless a URL names a PostgreSQL database.

Importing this costs little: SQLAlchemy is loaded by ``Store.open()``, when the app starts.
"""

from ._directory import generated_secret, safety_directory
from ._record import Record
from ._store import DEFAULT_URL, Store

__all__ = ["DEFAULT_URL", "Record", "Store", "generated_secret", "safety_directory"]
