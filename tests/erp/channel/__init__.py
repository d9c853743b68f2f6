"""A Tryton module for orders of sales channels: the key that a channel gave
an order, the warehouse of each line, and a log of what was available when."""

from trytond.pool import Pool

from . import sale, stock


def register():
    Pool.register(sale.Sale, sale.SaleLine, stock.Change,
                  module="channel", type_="model")
