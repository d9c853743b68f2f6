"""Every change of what is available, written with what caused it."""

from trytond.model import ModelSQL, fields


class Change(ModelSQL):
    "Change of what is available"
    __name__ = "channel.stock.change"

    at = fields.Float("At", required=True)
    product = fields.Many2One("product.product", "Product", required=True)
    warehouse = fields.Many2One("stock.location", "Warehouse", required=True)
    delta = fields.Integer("Delta", required=True)
    available = fields.Integer("Available", required=True)
    cause = fields.Char("Cause", required=True)
