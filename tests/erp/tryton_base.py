"""Tryton in this process: its settings, and a database with the modules that
the tests need and a company, made once and kept under build/."""

import fcntl
import glob
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import warnings
from types import SimpleNamespace

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get(
    "PENSTOCK_BUILD", os.path.join(HERE, "../../build")))

try:
    import trytond.modules
except ImportError:
    sys.exit("Tryton is not there: ./build.sh deps tryton (it is made for"
             " Debian's /usr/bin/python3)")
from trytond import backend, __version__ as trytond_version  # noqa: E402
from trytond.config import config                            # noqa: E402
from trytond.pool import Pool                                # noqa: E402
from trytond.report import report                            # noqa: E402,F401
from trytond.transaction import Transaction                  # noqa: E402

# what Tryton can't do on SQLite; its reports forget earlier filters
warnings.simplefilter("ignore")

MODULES = ["channel", "sale", "stock"]

config.set("database", "uri", "sqlite://")

# Where an installed module would have an entry point, "channel" has a folder.
trytond.modules.EGG_MODULES["channel"] = SimpleNamespace(
    dist=SimpleNamespace(location=HERE), module_name="channel")


class Database(backend.Database):
    """The process may be killed by a test, the machine is not: commits reach
    the kernel, they don't wait for the disk."""

    def connect(self):
        fresh = self._conn is None
        super().connect()
        if fresh:
            self._conn.execute("PRAGMA synchronous = OFF")
        return self


backend.Database = Database


def start(path):
    """The pool of the database in this file, copied there if need be."""
    folder, name = os.path.split(os.path.abspath(path))
    if not os.path.exists(path):
        shutil.copyfile(base(), path)
        # readers don't wait for the one writer, nor it for them
        sqlite3.connect(path).execute("PRAGMA journal_mode = WAL")
    config.set("database", "path", folder)
    Pool.start()
    pool = Pool(os.path.splitext(name)[0])
    pool.init()
    return pool


def base():
    """The file to copy, made when Tryton or its module here is new."""
    made_of = [trytond_version.encode()]
    module = glob.glob(os.path.join(HERE, "channel/*.*"))
    for path in (__file__, *sorted(module)):
        with open(path, "rb") as file:
            made_of.append(file.read())
    stamp = hashlib.sha256(b"".join(made_of)).hexdigest()[:16]
    folder = os.path.join(BUILD, "tryton")
    path = os.path.join(folder, stamp + ".sqlite")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path):
            # this process is going to open another one
            subprocess.run([sys.executable, __file__, path], check=True)
    return path


def make(path):
    """Tryton's own modules and ours in a new database, and who sells."""
    folder = os.path.dirname(path)
    for old in glob.glob(os.path.join(folder, "*.sqlite*")):
        os.unlink(old)
    new = os.path.join(folder, "new.sqlite")
    open(new, "w").close()
    config.set("database", "path", folder)
    Database("new").connect().init()
    Pool.start()
    pool = Pool("new")
    pool.init(update=MODULES, lang=["en"], activatedeps=True)
    with Transaction().start("new", 1):
        make_company(pool)
        # the warehouse that Tryton brings along
        Location = pool.get("stock.location")
        Location.write(Location.search([("code", "=", "WH")]), {"code": None})
    os.rename(new, path)


def make_company(pool):
    Currency = pool.get("currency.currency")
    Party = pool.get("party.party")
    Company = pool.get("company.company")
    User = pool.get("res.user")
    currency = Currency(name="Pound", symbol="\u00a3", code="GBP")
    currency.save()
    seller = Party(name="Penstock Wholesale")
    seller.save()
    company = Company(party=seller, currency=currency)
    company.save()
    user = User(1)
    user.companies = [company]
    user.company = company
    user.save()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        make(sys.argv[1])
    else:
        print(base())
