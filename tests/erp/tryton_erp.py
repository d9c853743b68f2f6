#!/usr/bin/python3
"""Tryton as the ERP behind a gateway: what erp.py offers, limits and faults
included, with stock and orders in Debian's Tryton 6.0 on SQLite.

    tryton_erp.py --port 0 --db FILE --catalogue FILE

FILE is made when it is not there.  Beyond erp.py's:

    POST /__control {"hold": true}   orders stand still before their commit,
                                     until false; /__stats counts "holding"
    POST /__fresh                    stock, orders, counters and limits as
                                     after the start (with --fresh)
"""

import asyncio
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import erp
from tryton_store import Store

THREADS = 32            # of calls into Tryton, those that wait included


class TrytonErp(erp.Erp):
    def __init__(self, options, store):
        super().__init__(options, store)
        self.options = options
        self.threads = ThreadPoolExecutor(THREADS)

    def ready(self):
        if self.options.fresh:
            self.store.keep()

    async def call(self, function, *args):
        return await asyncio.get_running_loop().run_in_executor(
            self.threads, function, *args)

    async def admin_route(self, request):
        if (request.method, request.path) == ("POST", "/__fresh"):
            await self.call(self.store.forget)
            self.configure(self.options)
            self.reset()
            return 200, {}, {}
        return await super().admin_route(request)

    def control(self, said):
        if "hold" in said:
            self.store.hold(said.pop("hold"))
        super().control(said)

    def stats(self):
        return dict(super().stats(), holding=self.store.holding)


def main(argv):
    parser = erp.arguments("Tryton as the ERP of tests and the demo.")
    parser.add_argument("--fresh", action="store_true",
                        help="remember the start for POST /__fresh")
    parser.set_defaults(latency="0ms")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="tryton-") as folder:
        if options.db == ":memory:":
            options.db = os.path.join(folder, "erp.sqlite")
        asyncio.run(erp.serve(options, TrytonErp(options, Store(options.db))))


if __name__ == "__main__":
    main(sys.argv[1:])
